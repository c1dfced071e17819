"""``decrypt`` and ``join``: two forms in which files are stored that are not the file itself."""

from __future__ import annotations

from pathlib import Path

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import emit, say
from armlx_chain.cli.sizes import SIZE
from armlx_chain.types import Root

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_OUTPUT = click.Path(path_type=Path, dir_okay=False)
_LIMIT = 1 << 40


@click.command()
@click.argument("file", type=_FILE)
@click.option("--key-file", required=True, type=_FILE, help="File with the key: 32 bytes, or 64 hex digits.")
@click.option("-o", "--output", required=True, type=_OUTPUT, help="Where to write the content.")
@click.option("--json", "as_json", is_flag=True, envvar="ARMLX_JSON", help="One JSON object on stdout.")
def decrypt(file: Path, key_file: Path, output: Path, as_json: bool) -> None:
    """Open FILE, an encrypted file of 0G Storage that was fetched before.

    The key is the AES key of a file encrypted with a shared key (version 1), or the recipient's private key
    of a file encrypted to a public key (version 2). The format has no checksum: with another key of version 1
    the result is noise, and nobody can tell. What was stored is proven by its root when it is fetched.

    \b
    Examples:
      armlx-chain fetch 0g:0x… -o sealed.bin
      armlx-chain decrypt sealed.bin --key-file key.hex -o data.bin
    """
    from armlx_chain.storage.zerog.encryption import decrypt_file, read_header, read_key_file

    size = decrypt_file(file, output, read_key_file(key_file))
    header = read_header(file)
    version = 0 if header is None else header.version
    facts = {"file": str(output), "bytes": size, "version": version}
    emit(facts, [f"Wrote {size} bytes to {output}."], as_json=as_json)


@click.command()
@click.argument("roots", metavar="ROOT...", nargs=-1, required=True)
@click.option("-o", "--output", required=True, type=_OUTPUT, help="Where to write the whole file.")
@click.option(
    "--size", type=click.IntRange(min=1), metavar="BYTES", help="The whole length, from a place you trust."
)
@click.option("--max-size", type=SIZE, help="Never download more than this. [default: 1TiB]")
@network_options
def join(app: App, roots: tuple[str, ...], output: Path, size: int | None, max_size: int | None) -> None:
    """Fetch a file that was cut into fragments, from the 0G ROOTs of all fragments in order.

    Clients of 0G Storage cut files beyond 4 GiB, and whoever stored one has the list of roots. Every fragment
    is proven; that the list is whole and in order, nothing can prove. A stopped download goes on.

    \b
    Examples:
      armlx-chain join 0g:0x3f… 0g:0x9a… 0g:0x07… -o model.bin
      armlx-chain join $(cat roots.txt) -o model.bin --size 9663676416
    """
    from armlx_chain.cli.progress import transfer_bar
    from armlx_chain.storage.network import zerog_storage
    from armlx_chain.storage.places import Places

    storage = zerog_storage(Places(app.settings.network.storage_urls), None)
    with transfer_bar(output.name) as bar:
        found = storage.download_fragments(
            [Root.parse(text) for text in roots],
            output,
            max_bytes=max_size or _LIMIT,
            expected_size=size,
            progress=bar,
        )
    for fault in found.faults:
        say(f"warning: {fault}")
    facts = {
        "file": str(output),
        "bytes": found.size,
        "roots": [str(root) for root in found.roots],
        "source": found.source,
        "verified": True,
        "faults": [str(fault) for fault in found.faults],
    }
    lines = [f"Wrote {found.size} bytes to {output}: {len(roots)} fragments, every one proven."]
    emit(facts, lines, as_json=app.as_json)
