"""The pages that a person sees: plain HTML, no scripts, each marked as a simulator."""

from collections.abc import Iterable
from html import escape

from infra.local.stripe.errors import Object
from infra.local.stripe.methods import TEST_METHODS

_LAYOUT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - payment simulator</title>
<style>
:root {{ color-scheme: light; --ink: #1c2333; --soft: #5b6478; --line: #d9deea; --accent: #3d4edb; }}
* {{ box-sizing: border-box }}
body {{ margin: 0; background: #f4f6fb; color: var(--ink); font: 16px/1.5 system-ui, sans-serif }}
.banner {{ background: #ffd84d; padding: .6rem 1rem; text-align: center; font-weight: 600 }}
main {{ max-width: 30rem; margin: 2.5rem auto; background: #fff;
  border: 1px solid var(--line); border-radius: 12px;
  padding: 2rem; box-shadow: 0 8px 30px #1c233314 }}
h1 {{ margin: 0; font-size: 1rem; color: var(--soft); font-weight: 500 }}
.total {{ font-size: 2.2rem; font-weight: 700; margin: 0 0 1rem }}
dl {{ display: grid; grid-template-columns: 1fr auto; gap: .3rem; margin: 0 0 1.5rem; color: var(--soft) }}
dd {{ margin: 0; color: var(--ink); text-align: right }}
fieldset {{ border: 1px solid var(--line); border-radius: 8px; padding: 0;
  margin: 0 0 1.2rem; overflow: hidden }}
legend {{ font-weight: 600; margin: 0 0 .5rem }}
label {{ display: flex; gap: .7rem; align-items: center;
  padding: .65rem .9rem; border-top: 1px solid var(--line) }}
label:first-of-type {{ border-top: 0 }}
label:hover {{ background: #f4f6fb }}
label span {{ margin-left: auto; color: var(--soft); font-variant-numeric: tabular-nums }}
button, .button {{ display: block; width: 100%; padding: .8rem; border: 0; border-radius: 8px;
  background: var(--accent);
  color: #fff; font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer }}
.quiet {{ background: none; color: var(--soft); margin-top: .5rem }}
.error {{ background: #fdecec; color: #9b1c1c; border-radius: 8px; padding: .7rem .9rem; margin: 0 0 1.2rem }}
:focus-visible {{ outline: 3px solid #9aa5ff; outline-offset: 2px }}
</style></head><body>
<div class="banner" role="note">Simulator: no money moves, and no card is real</div>
<main>{body}</main></body></html>"""


def show_checkout(session: Object, error: str | None) -> str:
    """Draw the page on which a session is paid, or a method saved."""
    saving = session["mode"] == "setup"
    verb = (
        "Save payment method"
        if saving
        else f"Pay {format_money(session['amount_total'], session['currency'])}"
    )
    rows = ""
    if not saving:
        tax = session["total_details"]["amount_tax"]
        lines = (("Subtotal", session["amount_subtotal"]), ("Tax", tax), ("Total", session["amount_total"]))
        rows = _list_rows((name, format_money(value, session["currency"])) for name, value in lines)
    alert = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    choices = "".join(
        f'<label><input type="radio" name="payment_method" value="{name}"{" checked" if not index else ""}>'
        f"{escape(method.label)}<span>•••• {method.last4}</span></label>"
        for index, (name, method) in enumerate(TEST_METHODS.items())
    )
    cancel = '<button class="quiet" name="action" value="cancel">Cancel and go back</button>'
    heading = "Save a payment method" if saving else "Total to pay"
    total = (
        "" if saving else f'<p class="total">{format_money(session["amount_total"], session["currency"])}</p>'
    )
    return _draw(
        "Checkout",
        f"<h1>{heading}</h1>{total}{rows}{alert}"
        f'<form method="post"><fieldset><legend hidden>Test method</legend>{choices}</fieldset>'
        f'<button name="action" value="pay">{verb}</button>{cancel if session["cancel_url"] else ""}</form>',
    )


def show_authentication(intent: Object) -> str:
    """Draw the bank's page of 3D Secure."""
    return _draw(
        "Authentication",
        f"<h1>3D Secure</h1><p>Does the payer confirm {escape(intent['id'])}?</p>"
        '<form method="post"><button name="action" value="succeed">Complete authentication</button>'
        '<button class="quiet" name="action" value="fail">Fail authentication</button></form>',
    )


def show_receipt(charge: Object) -> str:
    """Draw the receipt of a charge."""
    paid, refunded = (
        format_money(charge[name], charge["currency"]) for name in ("amount", "amount_refunded")
    )
    rows = _list_rows((("Charge", charge["id"]), ("Paid", paid), ("Refunded", refunded)))
    return _draw("Receipt", f'<h1>Receipt</h1><p class="total">{paid}</p>{rows}')


def show_portal(portal: Object, methods: list[Object], payments: list[Object]) -> str:
    """Draw the billing portal: what is saved, and what was paid."""
    saved = _list_rows((method["type"], f"•••• {method[method['type']]['last4']}") for method in methods)
    paid = _list_rows((one["id"], format_money(one["amount"], one["currency"])) for one in payments)
    back = portal["return_url"]
    link = f'<a class="button" href="{escape(back)}">Go back</a>' if back else ""
    return _draw("Billing", f"<h1>Payment methods</h1>{saved}<h1>Payments</h1>{paid}{link}")


def show_notice(text: str) -> str:
    return _draw("Notice", f"<h1>{escape(text)}</h1>")


def format_money(amount: int, currency: str) -> str:
    return f"{amount // 100:,}.{amount % 100:02} {escape(currency.upper())}"


def _list_rows(rows: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{value}</dd>' for name, value in rows)}</dl>"


def _draw(title: str, body: str) -> str:
    return _LAYOUT.format(title=title, body=body)
