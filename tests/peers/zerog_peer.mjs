// Runs the real TypeScript SDK of 0G Storage for one job and writes the outcome as JSON.
//   node zerog_peer.mjs <job.json> <outcome.json>
// job: {"do": "upload", indexer, rpc, privateKey, file} or {"do": "download", indexer, root, file}
import { readFileSync, writeFileSync } from "node:fs";
import { Indexer, ZgFile } from "@0gfoundation/0g-ts-sdk";
import { JsonRpcProvider, Wallet } from "ethers";

const [jobPath, outcomePath] = process.argv.slice(2);
const job = JSON.parse(readFileSync(jobPath, "utf8"));

async function upload() {
  const provider = new JsonRpcProvider(job.rpc);
  const signer = new Wallet(job.privateKey, provider);
  const file = await ZgFile.fromFilePath(job.file);
  try {
    const [tree, treeError] = await file.merkleTree();
    if (treeError !== null) throw treeError;
    const options = { finalityRequired: true, taskSize: job.taskSize ?? 10, expectedReplica: 1 };
    const [result, error] = await new Indexer(job.indexer).upload(file, job.rpc, signer, options);
    if (error !== null) throw error;
    return { root: tree.rootHash(), result };
  } finally {
    await file.close();
    provider.destroy();
  }
}

async function download() {
  const error = await new Indexer(job.indexer).download(job.root, job.file, true);
  if (error !== null) throw error;
  return {};
}

let outcome;
const began = performance.now();
const cpuBefore = process.cpuUsage();
try {
  outcome = { ok: true, ...(job.do === "upload" ? await upload() : await download()) };
  const cpu = process.cpuUsage(cpuBefore);
  outcome.milliseconds = Math.round(performance.now() - began);
  outcome.peakMib = Math.round(process.resourceUsage().maxRSS / 1024);
  outcome.cpuMilliseconds = Math.round((cpu.user + cpu.system) / 1000);
} catch (error) {
  outcome = { ok: false, error: String(error?.stack ?? error) };
}
writeFileSync(
  outcomePath,
  JSON.stringify(outcome, (_, value) => (typeof value === "bigint" ? value.toString() : value)),
);
process.exit(0);
