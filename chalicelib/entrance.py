"""What Lambda calls for the REST API: it imports a slice with the first request for one of its routes.

`app.py` imports them all, at a price that no caller should wait for: Chalice packages what is named there,
and documents, tables and tests are made from it.
"""

from chalicelib import wiring
from chalicelib.runtime.application import LazyApplication
from chalicelib.runtime.cross_origin import register_preflights
from chalicelib.runtime.cursors import SIGNER
from chalicelib.runtime.routing import read_table

_table = read_table()
app = LazyApplication(wiring.find_limiter, wiring.find_clock, _table)
register_preflights(app, _table.api)
SIGNER.read_secret = wiring.read_pepper
