// Compiles Solidity with the pinned solc and writes, or compares, one JSON file per contract.
// usage: node build.mjs [--check]
// Rejects every compiler warning. The output holds no path, no time and no metadata hash, so that it is the
// same on every machine.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const solc = createRequire(import.meta.url)("solc");
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");

const settings = {
  viaIR: true,
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "cancun",
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode"] } },
};

const groups = [
  { src: "contracts_abi/src", out: "contracts_abi/compiled" },
  { src: "tests/contracts/src", out: "tests/contracts/compiled" },
];

function solidityFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return solidityFiles(path);
      return entry.name.endsWith(".sol") ? [path] : [];
    })
    .sort();
}

function compile(src) {
  const files = solidityFiles(join(root, src));
  if (files.length === 0) return [];
  const name = (path) => relative(root, path).split(sep).join("/");
  const sources = Object.fromEntries(files.map((path) => [name(path), { content: readFileSync(path, "utf8") }]));
  const answer = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
  const messages = answer.errors ?? [];
  if (messages.length > 0) {
    for (const message of messages) process.stderr.write(message.formattedMessage + "\n");
    process.exit(1);
  }
  const { outputSelection, ...kept } = settings;
  const compiler = { name: "solc", version: solc.version(), settings: kept };
  return Object.values(answer.contracts)
    .flatMap((contracts) => Object.entries(contracts))
    .filter(([, contract]) => contract.evm.bytecode.object !== "")
    .map(([contractName, contract]) => ({
      contractName,
      compiler,
      abi: contract.abi,
      bytecode: "0x" + contract.evm.bytecode.object,
      deployedBytecode: "0x" + contract.evm.deployedBytecode.object,
      immutables: Object.values(contract.evm.deployedBytecode.immutableReferences ?? {})
        .flat()
        .sort((a, b) => a.start - b.start),
    }));
}

// Libraries whose functions are all internal leave an empty shell: nobody deploys it.
const isShell = (artifact) => artifact.abi.length === 0;

let differing = 0;
for (const { src, out } of groups) {
  const folder = join(root, out);
  const artifacts = compile(src).filter((artifact) => !isShell(artifact));
  const wanted = new Map(artifacts.map((a) => [a.contractName + ".json", JSON.stringify(a, null, 1) + "\n"]));
  const present = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".json")) : [];
  const stale = present.filter((file) => !wanted.has(file));
  if (process.argv.includes("--check")) {
    const changed = [...wanted].filter(
      ([file, text]) => !present.includes(file) || readFileSync(join(folder, file), "utf8") !== text,
    );
    for (const file of [...changed.map(([file]) => file), ...stale]) {
      process.stderr.write(`${out}/${file} is not what ${src} compiles to. Run contracts_abi/build.\n`);
      differing += 1;
    }
  } else {
    if (wanted.size > 0) mkdirSync(folder, { recursive: true });
    for (const [file, text] of wanted) writeFileSync(join(folder, file), text);
    for (const file of stale) rmSync(join(folder, file));
  }
  process.stdout.write(`${src}: ${wanted.size} contracts\n`);
}
process.exit(differing === 0 ? 0 : 1);
