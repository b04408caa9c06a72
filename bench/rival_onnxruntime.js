// ONNX Runtime as a rival: a process of bench/rivals.
//
//   node rival_onnxruntime.js FOLDER                          ends well if FOLDER has onnxruntime-node
//   node rival_onnxruntime.js FOLDER MODEL.onnx FRAMES.npy THREADS WARM_UP FRAMES COMPARED
//
// prints {"ms": {"all optimisations": [by frame]}, "outputs": [...]}.
"use strict";

const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const [folder, model, npy, ...counts] = process.argv.slice(2);
const ort = createRequire(path.resolve(folder) + path.sep)("onnxruntime-node");

// N x C x H x W float32, as bench/rivals writes it.
function readFrames(file) {
  const bytes = fs.readFileSync(file);
  const start = 10 + bytes.readUInt16LE(8);
  const shape = /\(([^)]*)\)/.exec(bytes.toString("latin1", 10, start))[1].split(",").map(Number);
  const size = shape[1] * shape[2] * shape[3];
  return Array.from({ length: shape[0] }, (_, frame) => {
    const values = new Float32Array(size);
    Buffer.from(values.buffer).set(bytes.subarray(start + 4 * size * frame,
                                                  start + 4 * size * (frame + 1)));
    return new ort.Tensor("float32", values, [1, ...shape.slice(1)]);
  });
}

async function main() {
  const [threads, warmUp, frames, compared] = counts.map(Number);
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ["cpu"],
    graphOptimizationLevel: "all",
    executionMode: "sequential",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    extra: { session: { set_denormal_as_zero: "1" } },
  });
  const ms = [];
  const outputs = [];
  for (const frame of readFrames(npy).slice(0, warmUp + frames)) {
    const begin = process.hrtime.bigint();
    const result = await session.run({ [session.inputNames[0]]: frame });
    ms.push(Number(process.hrtime.bigint() - begin) / 1e6);
    if (ms.length <= compared) {
      outputs.push(...result[session.outputNames[0]].data);
    }
  }
  console.log(JSON.stringify({ ms: { "all optimisations": ms.slice(warmUp) }, outputs }));
}

if (model) {
  main().catch((error) => {
    console.error(String(error));
    process.exit(1);
  });
}
