from __future__ import annotations

import textwrap

import pytest

from modules.errors import InvalidRequest, UnknownName
from modules.extensions import dispatch
from modules.extensions.loader import Extensions
from modules.generation.request import GenerationRequest
from modules.sampling.sampler import SAMPLERS


@pytest.fixture
def write(tmp_path):
    def write(name, code):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "extension.py").write_text(textwrap.dedent(code))
        return tmp_path

    return write


SHOUT = """
    from modules.extensions.api import Arguments, Script

    class ShoutArguments(Arguments):
        times: int = 1
        sign: str = "!"

    class Shout(Script):
        name = "Shout"
        Args = ShoutArguments

        def on_request(self, request, args):
            return request.model_copy(update={"prompt": request.prompt.upper() + args.sign * args.times})

    def register(to):
        to.script(Shout())
"""


def test_a_script_changes_the_requests_that_have_arguments_for_it(write):
    extensions = Extensions([write("shout", SHOUT)])
    asked = GenerationRequest(prompt="a cat", scripts={"shout": {"times": 3}})
    assert dispatch.on_request(extensions, asked).prompt == "A CAT!!!"
    plain = GenerationRequest(prompt="a cat")
    assert dispatch.on_request(extensions, plain) == plain


def test_a_list_of_arguments_is_read_in_the_order_of_the_fields(write):
    script = Extensions([write("shout", SHOUT)]).scripts.get("Shout")
    assert dispatch.from_list(script, [2, "?", "surplus"]) == {"times": 2, "sign": "?"}
    assert dispatch.from_list(script, []) == {}


def test_a_bad_argument_is_named(write):
    extensions = Extensions([write("shout", SHOUT)])
    with pytest.raises(InvalidRequest, match="Shout: times"):
        dispatch.on_request(extensions, GenerationRequest(scripts={"Shout": {"times": "many"}}))


def test_an_unknown_script_is_an_error_with_suggestions(write):
    extensions = Extensions([write("shout", SHOUT)])
    with pytest.raises(UnknownName, match='did you mean "Shout"'):
        dispatch.on_request(extensions, GenerationRequest(scripts={"Shuot": {}}))


def test_an_extension_that_fails_to_load_is_named_and_the_rest_goes_on(write):
    write("broken", "import no_such_library\n")
    extensions = Extensions([write("shout", SHOUT)])
    broken = next(one for one in extensions.all if one.name == "broken")
    assert not broken.is_active
    assert "no_such_library" in broken.problem
    assert extensions.scripts.names() == ("Shout",)


def test_an_extension_that_fails_half_way_leaves_nothing_behind(write):
    folder = write("half", textwrap.dedent(SHOUT).replace("to.script(Shout())", "to.script(Shout()); 1 / 0"))
    extensions = Extensions([folder])
    assert len(extensions.scripts) == 0
    assert "ZeroDivisionError" in extensions.all[0].problem


def test_disabling_takes_back_exactly_what_was_registered(write):
    before = SAMPLERS.names()
    folder = write("sampler", """
        from modules.sampling.sampler import SamplerInfo

        def register(to):
            to.sampler(SamplerInfo(name="Test sampler", sample=None, grid="sigmas", aliases=("k_test",)))
    """)  # fmt: skip
    extensions = Extensions([folder])
    assert "Test sampler" in SAMPLERS and "k_test" in SAMPLERS
    extensions.disable(extensions.all[0])
    assert SAMPLERS.names() == before and "k_test" not in SAMPLERS


def test_a_script_that_fails_while_it_works_is_disabled_and_the_job_goes_on(write):
    code = textwrap.dedent(SHOUT).replace("return request.model_copy", "raise RuntimeError('oh') or request.model_copy")
    extensions = Extensions([write("shout", code)])
    asked = GenerationRequest(prompt="a cat", scripts={"Shout": {}})
    assert dispatch.on_request(extensions, asked).prompt == "a cat"
    assert "on_request failed: RuntimeError: oh" in extensions.all[0].problem
    assert len(extensions.scripts) == 0


@pytest.mark.parametrize("options", [{"disabled": ["shout"]}, {"only": "builtin"}, {"only": "none"}])
def test_a_disabled_extension_is_not_loaded_but_listed(write, options):
    extensions = Extensions([write("shout", SHOUT)], **options)
    assert [(one.name, one.is_active) for one in extensions.all] == [("shout", False)]
    assert len(extensions.scripts) == 0
