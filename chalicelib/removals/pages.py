"""What pages for people share: they load nothing, and what is put into them is escaped where it is put."""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f4b; --bad: #c0362c; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.05rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.mass { font-size: 2.6rem; font-weight: 650; letter-spacing: -.02em; margin: 1.25rem 0 .25rem; }
.state { display: inline-block; padding: .1rem .6rem; border: 1px solid; border-radius: 1rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
h2 { font-size: 1rem; margin: 2.25rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; } th { font-weight: 500; }
.number { text-align: right; }
.register { font-size: .85rem; } .register td { white-space: nowrap; }
.scroll { overflow-x: auto; }
code { font-size: .8rem; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; font-size: .9rem; opacity: .8; }
.methodology h2 { font-size: 1.35rem; margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 1px solid; }
.methodology h3 { font-size: 1rem; margin: 1.75rem 0 .4rem; }
.methodology th, .methodology td { vertical-align: top; font-size: .85rem; }
.methodology th { font-weight: 600; }
.wide { min-width: 40rem; } .methodology .wide td { overflow-wrap: normal; }
.methodology .figures td:first-child { white-space: nowrap; }
.methodology .number { white-space: nowrap; }
.formula { font: 600 .95rem/1.5 ui-monospace, monospace; margin: .4rem 0; padding: .5rem .75rem;
  border-left: 3px solid var(--good); background: #8881; overflow-wrap: anywhere; }
.source { font-size: .85rem; opacity: .8; margin: .25rem 0; }
nav a { margin-right: 1rem; white-space: nowrap; } a { color: inherit; }
@media print {
  body { font-size: 10pt; max-width: none; margin: 0; padding: 0; } nav { display: none; }
  .scroll { overflow: visible; } .wide { min-width: 0; }
  h2, h3 { break-after: avoid; } tr, .formula { break-inside: avoid; }
  .methodology th, .methodology td { font-size: 8pt; padding-right: .4rem; }
}
"""
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
        "frame-ancestors 'none'"
    ),
}


def render_frame(title: str, body: str, kind: str = "") -> str:
    """Return a whole page, to be sent with `HEADERS`. ``body`` is HTML, ``kind`` a class of the style."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f'<body class="{escape(kind)}">{body}</body></html>'
    )


def render_facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    return f"<table>{rows}</table>"
