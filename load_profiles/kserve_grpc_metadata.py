"""What a KServe v2 server says of a model over gRPC. Controller side; door to tritonclient's gRPC client."""

from __future__ import annotations

from tuner.domain.errors import InfrastructureError, UsageError

ASK_TIMEOUT_S = 5.0
UNKNOWN_MODEL = ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT")


def stated_inputs(authority: str, *, host: str, model: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, datatype and shape of each input. `authority` is the pinned ADDRESS:PORT, `host` what requests call it.

    Raises InfrastructureError if it cannot be asked, UsageError if it has no such model.
    """
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    # The user's proxy settings and names found in the answers must not lead anywhere else.
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.default_authority", host),
    ]
    client = InferenceServerClient(authority, channel_args=options)
    try:
        metadata = client.get_model_metadata(model, client_timeout=ASK_TIMEOUT_S)
    except InferenceServerException as error:
        message = f"{host}: {error.message()}"
        if error.status() in UNKNOWN_MODEL:
            raise UsageError(message, hint="is this the model's name there?") from error
        raise InfrastructureError(f"cannot ask about the model {model}: {message}") from error
    finally:
        client.close()
    return [(entry.name, entry.datatype, tuple(map(int, entry.shape))) for entry in metadata.inputs]
