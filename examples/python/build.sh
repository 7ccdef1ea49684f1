# Runs in the sandbox: the wheel from the source, then the source's tests against what the wheel installs.

python3 -m pip wheel --quiet --no-deps --wheel-dir dist /packages/msgpack-*.tar.gz

python3 -m venv venv
venv/bin/pip install --quiet dist/*.whl pytest
venv/bin/python -c 'import msgpack._cmsgpack as extension; print("compiled:", extension.__file__)'

tar xzf /packages/msgpack-*.tar.gz
cd msgpack-*/test
/workspace/venv/bin/python -m pytest --quiet -W ignore
