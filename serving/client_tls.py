"""Certificate files of a client, read and checked at once."""

import ssl

from serving import client_specs


def context(tls: client_specs.ClientTls) -> ssl.SSLContext:
    """Reads certificate files, so that a wrong one is told before a request.

    Args:
        tls: Their paths.

    Returns:
        What https is spoken with; the server's certificate is checked.

    Raises:
        OSError: If a file cannot be read or is no PEM, or a key is another
            certificate's or encrypted; names the file.

    Example:
    >>> context(client_specs.ClientTls()).check_hostname
    True
    """
    try:
        made = ssl.create_default_context(cafile=tls.root_certificates)
    except OSError as error:
        raise _refusal(str(tls.root_certificates), error) from error
    if tls.certificate is not None:
        try:
            made.load_cert_chain(tls.certificate, tls.key, _no_password)
        except OSError as error:
            raise _refusal(f"{tls.certificate}, {tls.key}", error) from error
    return made


def _no_password() -> str:
    # Else OpenSSL would ask on the terminal, and wait.
    raise OSError(0, "the key is encrypted")


def _refusal(files: str, error: OSError) -> OSError:
    said = error.strerror
    if isinstance(error, ssl.SSLError):
        other = error.reason == "KEY_VALUES_MISMATCH"
        said = "the key is another certificate's" if other else "no PEM"
    return OSError(
        "Certificates and keys must be readable PEM files that belong "
        f"together, without a password. Received: {files} ({said})."
    )
