// Operations that hold every pixel of a layer: deflated for the document's JSON, plain in memory.

const { base64ToBlob, blobToBase64 } = await import(`../dom.js${new URL(import.meta.url).search}`);

const through = async (blob, stream) => new Blob([await new Response(blob.stream().pipeThrough(stream)).arrayBuffer()]);

// JSON does not see `bytes`: they are in `deflated` already.
function withBytes(operation, bytes) {
  return Object.defineProperty(operation, "bytes", { value: bytes, enumerable: false });
}

// The operation that replaces a raster's bytes by these.
export async function pixelsOperation(bytes) {
  const deflated = await blobToBase64(await through(new Blob([bytes]), new CompressionStream("deflate")));
  return withBytes({ kind: "pixels", deflated }, bytes);
}

// Make the operations of a document that comes from JSON ready to be applied.
export async function unpack(operations) {
  await Promise.all(operations.filter(({ kind }) => kind === "pixels").map(async (operation) => {
    const plain = await through(base64ToBlob(operation.deflated), new DecompressionStream("deflate"));
    withBytes(operation, new Uint8Array(await plain.arrayBuffer()));
  }));
}

// A mask's bytes from a decoded picture, at the given size: what the engine reads from such a file. A picture with
// transparency gives its alpha, split in the middle; any other its grey values (Rec. 601 in 1/65536, as Pillow).
export function maskBytes(bitmap, width, height) {
  const data = pixelsOf(bitmap, width, height);
  const bytes = new Uint8Array(width * height);
  let isTransparent = false;
  for (let k = 3; k < data.length && !isTransparent; k += 4) isTransparent = data[k] !== 255;
  for (let k = 0; k < bytes.length; k += 1) {
    const place = 4 * k;
    bytes[k] = isTransparent ? (data[place + 3] > 128 ? 255 : 0)
      : (data[place] * 19595 + data[place + 1] * 38470 + data[place + 2] * 7471 + 0x8000) >> 16;
  }
  return bytes;
}

// A mask's bytes from the source's own transparency: what cannot be seen is repainted.
export function holes(bitmap, width, height) {
  const data = pixelsOf(bitmap, width, height);
  return Uint8Array.from({ length: width * height }, (_, k) => 255 - data[4 * k + 3]);
}

function pixelsOf(bitmap, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

// A mask's bytes brought to another size, each pixel from the nearest.
export function scaled({ data, width, height }, toWidth, toHeight) {
  const bytes = new Uint8Array(toWidth * toHeight);
  for (let y = 0; y < toHeight; y += 1) {
    const row = Math.floor(((y + 0.5) * height) / toHeight) * width;
    for (let x = 0; x < toWidth; x += 1) bytes[y * toWidth + x] = data[row + Math.floor(((x + 0.5) * width) / toWidth)];
  }
  return bytes;
}
