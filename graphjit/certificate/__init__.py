"""The certificate: one derivative, computed in several ways that share as little as possible."""

from graphjit.certificate.judge import certify
from graphjit.certificate.result import Certificate

__all__ = ["Certificate", "certify"]
