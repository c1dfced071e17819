// Runs arbundles for a list of jobs and writes the outcomes as JSON.
//   node irys_peer.mjs <jobs.json> <outcomes.json>
// job: {"do": "sign", signer, key, data, tags, target?, anchor?}, {"do": "verify", raw}, {"do": "bundle", key, items}
// Binary is base64; target is base64url; Ed25519 keys are {"seed", "public"}; Arweave keys are JWKs.
import { createPrivateKey, sign as nodeSign } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import * as arbundles from "arbundles";
import bs58 from "bs58";

const [jobsPath, outcomesPath] = process.argv.slice(2);
const jobs = JSON.parse(readFileSync(jobsPath, "utf8"));
const bytes = (text) => Buffer.from(text, "base64");

const solanaSecret = (key) => bs58.encode(Buffer.concat([bytes(key.seed), bytes(key.public)]));

function aptosWallet(key) {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), bytes(key.seed)]);
  const secret = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  return {
    async signMessage({ message, nonce }) {
      const text = Buffer.from(`APTOS\nmessage: ${message}\nnonce: ${nonce}`);
      return { signature: nodeSign(null, text, secret).toString("hex") };
    },
  };
}

const signers = {
  arweave: (key) => new arbundles.ArweaveSigner(key),
  ethereum: (key) => new arbundles.EthereumSigner(key),
  polygon: (key) => new arbundles.PolygonSigner(key),
  typedEthereum: (key) => new arbundles.TypedEthereumSigner(key),
  solana: (key) => new arbundles.SolanaSigner(solanaSecret(key)),
  hexSolana: (key) => new arbundles.HexSolanaSigner(solanaSecret(key)),
  algorand: (key) => new arbundles.AlgorandSigner(bytes(key.seed), bytes(key.public)),
  injectedAptos: (key) => new arbundles.InjectedAptosSigner(aptosWallet(key), bytes(key.public)),
};

async function run(job) {
  if (job.do === "sign") {
    const signer = signers[job.signer](job.key);
    const options = { tags: job.tags, target: job.target, anchor: job.anchor };
    const item = arbundles.createData(bytes(job.data), signer, options);
    await item.sign(signer);
    return { raw: item.getRaw().toString("base64"), id: item.id, type: item.signatureType };
  }
  if (job.do === "bundle") {
    const signer = signers.ethereum(job.key);
    const items = job.items.map((data, index) =>
      arbundles.createData(bytes(data), signer, { anchor: String(index).padStart(32, "a") }),
    );
    const bundle = await arbundles.bundleAndSignData(items, signer);
    return { raw: bundle.getRaw().toString("base64"), ids: bundle.getIds() };
  }
  const raw = bytes(job.raw);
  const item = new arbundles.DataItem(raw);
  return {
    valid: await arbundles.DataItem.verify(raw),
    id: item.id,
    type: item.signatureType,
    tags: item.tags,
    target: item.target,
    anchor: item.anchor,
    data: item.rawData.toString("base64"),
  };
}

const outcomes = [];
for (const job of jobs) {
  try {
    outcomes.push({ ok: true, ...(await run(job)) });
  } catch (error) {
    outcomes.push({ ok: false, error: String(error?.stack ?? error) });
  }
}
writeFileSync(outcomesPath, JSON.stringify(outcomes));
process.exit(0);
