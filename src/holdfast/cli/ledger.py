"""``holdfast ledger``"""

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def ledger() -> None:
    """The record."""
