"""How this program reaches Postern, and how it proves which program it is. Copy this file."""

import os
import pathlib

import grpc
from postern.auth.v1 import auth_pb2_grpc

# Which calls are safe to repeat, and how. Keep a copy beside your own program.
SERVICE_CONFIG = pathlib.Path(__file__).parents[2] / "proto" / "service-config.json"


# <region channel>
def connect():
    """One long-lived channel for the whole program; it connects again by itself."""
    server = os.environ.get("POSTERN_SERVER", "127.0.0.1:7301")
    options = [
        ("grpc.service_config", SERVICE_CONFIG.read_text()),
        # A server that vanished without a word is noticed.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # Recovery within seconds, not after gRPC's own two minutes.
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    authority = os.environ.get("POSTERN_CA")
    if authority is None:
        channel = grpc.insecure_channel(server, options)
    else:
        credentials = grpc.ssl_channel_credentials(pathlib.Path(authority).read_bytes())
        channel = grpc.secure_channel(server, credentials, options)
    return auth_pb2_grpc.AuthServiceStub(channel)


def credential():
    """The secret of this program as metadata for each call. Read once: a rotated secret has an overlap to restart in."""
    path = os.environ.get("POSTERN_CLIENT_SECRET_FILE")
    return [("authorization", f"Bearer {pathlib.Path(path).read_text().strip()}")] if path else []


# </region>
