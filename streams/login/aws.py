"""A token for Amazon MSK, signed with the IAM identity that this process has. Needs the extra `[msk]`."""

import time

from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
from botocore.exceptions import BotoCoreError, ClientError

from streams.login.tokens import Token, TokenError

_REGION = ("aws_region",)


def fetch_token(region: str) -> Token:
    """Return a new token of the identity that AWS's own chain finds. Raises TokenError if it finds none."""
    try:
        text, ends_at_ms = MSKAuthTokenProvider.generate_auth_token(region)
    except (BotoCoreError, ClientError, AttributeError, ValueError) as error:
        # Without credentials the signer looks for the attributes of None.
        why = "AWS's chain finds no credentials" if isinstance(error, AttributeError) else str(error)
        raise TokenError(f"no token for Amazon MSK: {why}", _REGION) from None
    return Token(text, ends_at_ms / 1000 - time.time())
