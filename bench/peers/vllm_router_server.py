"""Run vllm-router with its key check on; for the Python of its own environment.

Its command line cannot switch the check on: `--api-key` is the key that it would send to its workers, and lets every
caller in; `--api-key-validation-urls`, which its README names, is not an option of the packaged command. The router
itself has the check: it asks the URL once for each new key and remembers the answer. So the command line is read by
the package's own parser and the URL is added: `vllm_router_server.py VALIDATION_URL [option of vllm-router]...`
"""

import sys

from vllm_router.launch_router import launch_router, parse_router_args

if __name__ == "__main__":
    arguments = parse_router_args(sys.argv[2:])
    arguments.api_key_validation_urls = [sys.argv[1]]
    launch_router(arguments)
