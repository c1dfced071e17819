// The root of a file by the TypeScript SDK of 0G Storage: node typescript.cjs <folder of the SDK's install> <file>
// Prints one line of JSON: root, seconds of user CPU, seconds on the wall, peak memory in KiB.
const { createRequire } = require("node:module");
const path = require("node:path");

const [folder, file] = process.argv.slice(2);
const { ZgFile } = createRequire(path.resolve(folder) + path.sep)("@0gfoundation/0g-ts-sdk");

async function main() {
  const opened = await ZgFile.fromFilePath(file);
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  const [tree, error] = await opened.merkleTree();
  if (error !== null) throw error;
  const user = process.cpuUsage(cpu).user / 1e6;
  const wall = Number(process.hrtime.bigint() - start) / 1e9;
  await opened.close();
  const peak = process.resourceUsage().maxRSS;
  console.log(JSON.stringify({ root: tree.rootHash(), user, wall, peak }));
}

main();
