"""``publish``: a researcher's side, from files to a project that anybody can verify."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from armlx_chain.cli.amounts import AMOUNT
from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.marks import require_verified
from armlx_chain.cli.output import coin, confirm, emit, say
from armlx_chain.errors import UsageError, VerifierFault
from armlx_chain.types import ProjectId, Tokens, Wei

if TYPE_CHECKING:
    from armlx_chain.chain.sender import TxSender
    from armlx_chain.claims.projectfiles import Baseline, Tree
    from armlx_chain.claims.publication import Publication, PublicationStore
    from armlx_chain.claims.publish import ProjectFiles, PublishedProject, TokenTerms
    from armlx_chain.protocol.model import Protocol
    from armlx_chain.types import ScaledScore

MAX_TEMPLATE_BYTES = 1 << 20


@dataclass(frozen=True)
class _Prepared:
    """Everything that a publication consists of, checked."""

    files: ProjectFiles
    terms: TokenTerms
    protocol: Protocol
    baseline: Baseline
    score: ScaledScore
    publication: Publication
    warnings: tuple[str, ...]


def _parse_role(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> list[tuple[str, str]]:
    pairs = []
    for text in values:
        role, equals, glob = text.partition("=")
        if not (role and equals and glob):
            raise click.BadParameter(f"{text!r} is not ROLE=GLOB")
        pairs.append((role, glob))
    return pairs


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--git --data --role``: a repository's revision, and its benchmark's files."""
    command = click.option(
        "--role",
        "roles",
        multiple=True,
        required=True,
        callback=_parse_role,
        metavar="ROLE=GLOB",
        help="What files are for: train, validation, fresh, tokenizer or byte-table.",
    )(command)
    command = click.option(
        "--data",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        required=True,
        help="The benchmark's files, as they lie in its cache folder.",
    )(command)
    what = "Take this revision's tree of the git repository, not the folder."
    return click.option("--git", "revision", help=what)(command)


def read_tree_option(folder: Path, revision: str | None) -> Tree:
    """The snapshot a person named: a folder, or a revision of the git repository in it.

    Raises:
        UsageError: it cannot be read as one.
    """
    from armlx_chain.claims import projectfiles

    return projectfiles.read_snapshot(folder) if revision is None else projectfiles.git_tree(folder, revision)


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--protocol",
    "template",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="protocol.json, or a template: ${baseline}, ${hardware}, ${created}, ${snapshot} and ${benchmark} in"
    " its strings are filled in.",
)
@data_options
@click.option(
    "--baseline-run",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Where the baseline was measured: a run folder whose control is this snapshot, or a folder with a"
    " baseline.json.",
)
@click.option("--name", required=True, help="The token's name.")
@click.option("--symbol", required=True, help="The token's symbol.")
@click.option("--base-price", type=AMOUNT, default="0.001og", show_default=True, help="Of the first token.")
@click.option("--slope", type=AMOUNT, default="0.000001og", show_default=True, help="Rise with each token.")
@click.option(
    "--pool",
    type=click.IntRange(min=1),
    required=True,
    help="Most tokens ever minted as rewards: whole tokens.",
)
@signer_options
@spending_options
@network_options
def publish(
    app: App,
    key: SignerChoice,
    snapshot: Path,
    revision: str | None,
    template: Path,
    data: Path,
    roles: list[tuple[str, str]],
    baseline_run: Path,
    name: str,
    symbol: str,
    base_price: Wei,
    slope: Wei,
    pool: int,
    yes: bool,
    dry_run: bool,
) -> int:
    """Publish the repository SNAPSHOT as a project: upload everything, create it, read it back and verify it.

    The registry checks nothing and a record cannot be changed, so everything is checked here first. Whatever
    is interrupted is resumed by the same command; no project is created twice.

    \b
    Example:
      armlx-chain publish repo --protocol protocol.json --data cache --role train='data/train_*.parquet' \\
        --role validation='data/val.parquet' --role tokenizer='tokenizer/tokenizer.pkl' \\
        --role byte-table='tokenizer/token_bytes.npy' --baseline-run runs/first \\
        --name "My Benchmark" --symbol MINE --pool 1000000 --account me --dry-run
    """
    from armlx_chain.claims.publication import PublicationStore, require_unpublished
    from armlx_chain.claims.publish import TokenTerms
    from armlx_chain.cli import wiring

    wiring.check_wiring(app)
    terms = TokenTerms(name, symbol, base_price, slope, Tokens(pool))
    store = PublicationStore(app.home / "publications")
    given = _Given(snapshot, revision, template, data, tuple(roles), baseline_run)
    signer = key.load(app)
    prepared = _prepare(app, given, terms, signer.address, store)
    require_unpublished(store, prepared.publication)
    sender = app.sender(signer)
    if not dry_run:
        sender.resume()
    created = sender.done(prepared.publication.key)
    if created is not None and dry_run:
        say("The project is on the registry already. Dry run: nothing was sent.")
        emit({"dry_run": True, "tx_hash": created.tx_hash, **_facts(prepared)}, [], as_json=app.as_json)
        return 0
    if created is None:
        if not _agreed(app, prepared, sender, yes=yes, dry_run=dry_run):
            return 0
        store.protocol(prepared.publication, prepared.files.protocol)
    published = _carry_out(app, prepared, sender)
    _read_back(app, prepared, published)
    store.finish(prepared.publication, published.project_id)
    _show(app, prepared, published)
    return 0


@dataclass(frozen=True, slots=True)
class _Given:
    snapshot: Path
    revision: str | None
    template: Path
    data: Path
    roles: tuple[tuple[str, str], ...]
    baseline_run: Path


def _prepare(app: App, given: _Given, terms: TokenTerms, creator: Any, store: PublicationStore) -> _Prepared:
    """Read and check everything.

    Raises:
        UsageError, ClaimRefused, FormatError, ProtocolInvalid: nothing was sent.
    """
    from armlx_chain.claims import projectfiles, publication
    from armlx_chain.claims.publish import ProjectFiles
    from armlx_chain.claims.runfolder import read_limited
    from armlx_chain.formats.bundle import pack_tree
    from armlx_chain.protocol.parse import parse_protocol
    from armlx_chain.protocol.score import encode_score
    from armlx_chain.storage.zerog.merkle import root_of

    warnings = publication.check_terms(terms)
    tree = read_tree_option(given.snapshot, given.revision)
    snapshot_root = root_of(pack_tree(tree))
    manifest, data = projectfiles.read_data(given.data, given.roles)
    benchmark_root = root_of(manifest.encode())
    template = read_limited(given.template, MAX_TEMPLATE_BYTES)
    require_verified(app.home, {given.template: template}, allowed=False)
    draft = parse_protocol(
        projectfiles.fill_template(template, _placeholders("0", "?", snapshot_root, benchmark_root))
    )
    baseline = projectfiles.read_baseline(given.baseline_run, draft, snapshot_root)
    network = app.settings.network
    deed = publication.Publication(
        network.chain_id,
        network.project_registry,
        creator,
        template,
        snapshot_root,
        benchmark_root,
        baseline.record,
        terms,
    )
    values = _placeholders(baseline.text, baseline.hardware_class, snapshot_root, benchmark_root)
    filled = store.begun(deed) or projectfiles.fill_template(template, values)
    protocol = parse_protocol(filled)
    score = encode_score(baseline.value, protocol.measurement.primary_metric.direction)
    publication.check_project(protocol, tree, score)
    warnings += _judgeable(protocol, {path: content for path, (content, _) in tree.items()})
    files = ProjectFiles(tree, filled, manifest, data, baseline.value, baseline.record)
    return _Prepared(files, terms, protocol, baseline, score, deed, tuple(warnings))


def _judgeable(protocol: Protocol, snapshot: Mapping[str, bytes]) -> list[str]:
    """What validators with this build will say of the protocol, before anything is spent."""
    from verifier.environments.fields import Place, terms_of
    from verifier.harness.constants import read_constants

    try:
        constants = read_constants(snapshot.get("prepare.py", b""))
        return list(terms_of(protocol, snapshot, constants, place=Place.here()).notices)
    except VerifierFault as problem:
        return [f"this build cannot judge the project: {problem.message}"]


def _placeholders(baseline: str, hardware: str, snapshot: object, benchmark: object) -> dict[str, str]:
    now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "baseline": baseline,
        "hardware": hardware,
        "created": now,
        "snapshot": str(snapshot),
        "benchmark": str(benchmark),
    }


def _agreed(app: App, prepared: _Prepared, sender: TxSender, *, yes: bool, dry_run: bool) -> bool:
    from armlx_chain.chain.fees import gas_limit
    from armlx_chain.claims.outcomes import UPLOAD_GAS
    from armlx_chain.claims.publication import CREATE_GAS
    from armlx_chain.cli.claiming import present_fees, storage_price
    from armlx_chain.errors import InsufficientFunds
    from armlx_chain.storage.zerog.shape import padded_chunks

    documents = prepared.files.documents
    sectors = sum(padded_chunks(len(data)) for _, data in documents)
    gas = (gas_limit(CREATE_GAS) + gas_limit(UPLOAD_GAS) * len(documents)) * present_fees(app).max_fee
    storage = sectors * storage_price(app)
    balance = app.rpc.balance(sender.address)
    if balance < gas + storage:
        raise InsufficientFunds(
            f"Publishing may take {gas + storage} wei, but {sender.address} holds {balance} wei.",
            meaning="Nothing was sent.",
            next_step="Fund the account and run this again.",
            details={"need": gas + storage, "have": int(balance)},
        )
    for warning in (*prepared.warnings, *_look_alikes(app, prepared.terms)):
        say(f"warning: {warning}")
    go = confirm(_rows(app, prepared, sender, gas, storage), yes=yes, dry_run=dry_run)
    if not go:
        emit({"dry_run": True, **_facts(prepared)}, [], as_json=app.as_json)
    return go


def _rows(
    app: App, prepared: _Prepared, sender: TxSender, gas: int, storage: int
) -> list[tuple[str, object]]:
    from armlx_chain.market.curve import Curve

    network, terms, files = app.settings.network, prepared.terms, prepared.files
    metric = prepared.protocol.measurement.primary_metric
    curve = Curve(terms.base_price, terms.slope)
    size = sum(len(data) for data in files.data.values())
    return [
        ("chain", f"{network.name} ({network.chain_id})"),
        ("creator", sender.address),
        ("snapshot", f"{len(files.snapshot)} files, {prepared.publication.snapshot_root}"),
        ("benchmark", f"{len(files.data)} files, {size} bytes, {prepared.publication.benchmark_root}"),
        ("baseline", f"{metric.name} {prepared.baseline.text} on {prepared.baseline.hardware_class}"),
        ("on the ledger", f"{prepared.score}; {metric.name} is to be {metric.direction}d, greater is better"),
        ("may change", ", ".join(prepared.protocol.mutable_surface.allowed_globs)),
        ("token", f"{terms.name} ({terms.symbol}), no decimals"),
        (
            "price",
            f"first token {coin(curve.cost_between(0, 1))}, a thousand {coin(curve.cost_between(0, 1000))}",
        ),
        ("miner pool", f"{terms.miner_pool_cap} whole tokens"),
        ("at most", f"{coin(gas + storage)}: {coin(gas)} gas, {coin(storage)} uploads"),
        ("for good", "none of this can be changed or taken back"),
    ]


def _look_alikes(app: App, terms: TokenTerms) -> list[str]:
    """Nothing ties a name to a creator: say so where it is taken. All projects in a few round trips."""
    from eth_abi import encode

    import contracts_abi
    from armlx_chain.chain.reading import ManyReader

    projects = list(app.frontier.read().projects.values())
    wanted = [("name", encode(["string"], [terms.name])), ("symbol", encode(["string"], [terms.symbol]))]
    reads = [
        (project.token, contracts_abi.function_selector("ProjectToken", what))
        for project in projects
        for what, _ in wanted
    ]
    answers = ManyReader(app.rpc, app.settings.network.multicall3).read(reads, "reading the names of tokens")
    expected = [data for _ in projects for _, data in wanted]
    taken = [
        at // len(wanted)
        for at, (found, data) in enumerate(zip(answers, expected, strict=True))
        if found == data
    ]
    return [
        f"project {projects[at].id} has that name or symbol already; people may confuse the two."
        for at in dict.fromkeys(taken)
    ]


def _carry_out(app: App, prepared: _Prepared, sender: TxSender) -> PublishedProject:
    from armlx_chain.claims.publish import publish_project
    from armlx_chain.cli import wiring

    with sender.exclusive():
        return publish_project(
            prepared.files,
            prepared.terms,
            publisher=wiring.make_publisher(app.settings, sender),
            sender=sender,
            registry=wiring.registry_of(app),
            progress=say,
            key=prepared.publication.key,
        )


def _read_back(app: App, prepared: _Prepared, published: PublishedProject) -> None:
    """Read the project as a stranger would: record, token, every document and every data file by its root.

    Raises:
        ArmlxError: something is not as it was sent.
    """
    from armlx_chain.claims.publication import require_as_published
    from armlx_chain.cli import wiring
    from armlx_chain.storage.fetch import open_storage
    from verifier.materials import load_materials

    project, _ = wiring.open_project(app, int(published.project_id))
    require_as_published(
        project, published, prepared.protocol, prepared.baseline.text, prepared.publication.creator
    )
    say("reading the project back, without the cache")
    with tempfile.TemporaryDirectory(prefix="armlx-published-") as folder:
        materials = load_materials(
            project,
            open_storage(list(app.settings.network.storage_urls), None),
            data_home=Path(folder),
            progress=say,
        )
    if materials.baseline_metric != prepared.baseline.value or not materials.control_is_baseline:
        raise UsageError(f"Project {project.id} reads back with another baseline than was published.")


def _facts(prepared: _Prepared) -> dict[str, Any]:
    deed, terms = prepared.publication, prepared.terms
    return {
        "snapshot_root": str(deed.snapshot_root),
        "benchmark_root": str(deed.benchmark_root),
        "baseline_value": prepared.baseline.text,
        "baseline_score": int(prepared.score),
        "name": terms.name,
        "symbol": terms.symbol,
        "base_price_wei": str(terms.base_price),
        "slope_wei": str(terms.slope),
        "pool": int(terms.miner_pool_cap),
    }


def _show(app: App, prepared: _Prepared, published: PublishedProject) -> None:
    from armlx_chain.cli.links import address_link, links_of

    network = app.settings.network
    links = links_of(network, published.tx_hash, protocol=published.protocol_root)
    token = address_link(network, published.token)
    if token is not None:
        links["token"] = token
    data = {
        "project": int(ProjectId(published.project_id)),
        "token": published.token,
        "tx_hash": published.tx_hash,
        "protocol_root": str(published.protocol_root),
        "baseline_root": str(published.baseline_root),
        **_facts(prepared),
        "verified": True,
        "links": links,
    }
    lines = [
        f"Project {published.project_id} is published, and reads back as it was sent.",
        f"  token      {published.token}",
        f"  protocol   {published.protocol_root}",
        f"  snapshot   {published.snapshot_root}",
        f"  benchmark  {published.benchmark_root}",
        f"  baseline   {published.baseline_root}",
        *(f"  {name:<9}  {link}" for name, link in links.items()),
    ]
    emit(data, lines, as_json=app.as_json)
