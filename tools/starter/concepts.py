"""The things the starter checkpoint knows by name, and the colours it can give them.

Each concept is one sprite; captions use its name. What a caption looks like is in `scenes.py`.
"""

from dataclasses import dataclass
from hashlib import sha256

RGB = tuple[int, int, int]

BACKGROUNDS: dict[str, RGB] = {
    "white": (255, 255, 255),
    "black": (24, 24, 28),
    "gray": (150, 150, 154),
    "brown": (128, 84, 56),
    "red": (222, 44, 52),
    "orange": (255, 150, 50),
    "yellow": (255, 226, 70),
    "green": (62, 168, 82),
    "cyan": (70, 208, 220),
    "blue": (52, 108, 226),
    "purple": (140, 82, 200),
    "pink": (255, 160, 205),
}
"""Named background colours. `TINTS` is the part of them with a hue of its own."""

TINTS: dict[str, RGB] = {
    name: BACKGROUNDS[name] for name in ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
}
"""Colours an object can be given."""


@dataclass(frozen=True, slots=True)
class Concept:
    """One nameable thing: `label` finds its picture in the emoji data, `name` is its word in captions."""

    name: str
    label: str
    plural: str

    @property
    def is_plural(self) -> bool:
        """Whether the name takes no article ("grapes")."""
        return self.name == self.plural

    @property
    def with_article(self) -> str:
        return article(self.name, self.is_plural)


def article(words: str, is_plural: bool = False) -> str:
    """`words` with "a" or "an" before it, or alone when plural."""
    if is_plural:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def is_held_out(concept: str, tint: str, share: float = 0.06) -> bool:
    """Whether "a {tint} {concept}" is kept out of training, so that evaluation can ask for something never seen."""
    digest = sha256(f"{concept}|{tint}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < share


def _concept(line: str) -> Concept:
    name, *rest = (part.strip() for part in line.split("|"))
    label = rest[0] if rest and rest[0] else name
    plural = rest[1] if len(rest) > 1 else f"{name}es" if name.endswith(("s", "x", "sh", "ch")) else f"{name}s"
    return Concept(name=name, label=label, plural=plural)


# name | emojibase label when it differs | plural when it is not name + s
_TABLE = """
cat | cat face
dog | dog face
fox
lion
tiger | tiger face
bear
panda
rabbit | rabbit face
frog
pig | pig face
cow | cow face
unicorn
horse
elephant
giraffe
penguin
chick | front-facing baby chick
duck
owl
flamingo
turtle
snake
whale | spouting whale
fish || fish
octopus
crab
snail
butterfly || butterflies
bee | honeybee
ladybug | lady beetle
rose
sunflower
cactus || cacti
palm tree
pine tree | evergreen tree
mushroom
maple leaf || maple leaves
apple | red apple
pear
lemon
banana
watermelon
grapes || grapes
strawberry || strawberries
cherries || cherries
peach || peaches
pineapple
tomato || tomatoes
avocado
eggplant
carrot
corn | ear of corn | corn
broccoli || broccoli
bread || bread
croissant
pancakes || pancakes
cheese | cheese wedge | cheese
hamburger
pizza
hot dog
egg
ice cream | soft ice cream
donut | doughnut
cookie
cake | birthday cake
cupcake
coffee | hot beverage | coffees
teapot
beer | beer mug
house
castle
tent
car | automobile
bus
taxi
fire truck | fire engine
tractor
train | locomotive
bicycle
airplane
helicopter
rocket
ufo | flying saucer
sailboat
anchor
clock | alarm clock
sun
moon | crescent moon
star
planet | ringed planet
cloud
rainbow
umbrella | umbrella with rain drops
snowman | snowman without snow | snowmen
fire || fire
balloon
gift | wrapped gift
trophy || trophies
soccer ball
basketball
dice | game die | dice
teddy bear
heart | red heart
diamond | gem stone
crown
top hat
glasses || glasses
shirt | t-shirt
dress
backpack
guitar
drum
bell
headphones | headphone | headphones
phone | mobile phone
laptop
television
camera
light bulb
candle
book | closed book
envelope
pencil
scissors || scissors
key
lock | locked
axe
sword | dagger
magnet
bomb
chair
bed
robot
ghost
alien
skull
pumpkin | jack-o-lantern
snowflake
"""

CONCEPTS: tuple[Concept, ...] = tuple(_concept(line) for line in _TABLE.strip().splitlines())
