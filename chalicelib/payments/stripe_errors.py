"""What Stripe's library raises, as our errors. Loaded with the gateway alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import stripe

from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.payments.ports import PaymentsNotConfigured, RemovalRefused, StripeFailed


@contextmanager
def refused() -> Iterator[None]:
    """As `translated`; raises RemovalRefused for what Stripe will not do, also when it is asked again."""
    with translated():
        try:
            yield
        except (stripe.InvalidRequestError, stripe.PermissionError) as error:
            raise RemovalRefused("Stripe does not do it.") from error


@contextmanager
def translated() -> Iterator[None]:
    """Raises Unavailable, NotFound or PaymentsNotConfigured in place of Stripe's own; others as they are."""
    try:
        yield
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        raise PaymentsNotConfigured("Stripe does not take the key of this stage.") from error
    except stripe.InvalidRequestError as error:
        if error.http_status == HTTPStatus.NOT_FOUND:
            raise NotFound("Stripe does not know it.") from error
        raise
    except stripe.APIError as error:
        if error.http_status == HTTPStatus.CONFLICT:
            # The key is in flight: the first call is still being answered, and may well be done.
            raise Unavailable("Stripe did not answer; repeat with the same key.") from error
        raise StripeFailed("Stripe failed; repeat with the same key.") from error
    except stripe.IdempotencyError as error:
        # It says the same for a day: the key stands for another request.
        raise StripeFailed("Stripe does not take the key for this; repeat it.") from error
    except (stripe.APIConnectionError, stripe.RateLimitError) as error:
        raise Unavailable("Stripe did not answer; repeat with the same key.") from error
