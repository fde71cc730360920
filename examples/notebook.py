# %% [markdown]
# # A container from a notebook
# Open this file in an editor that knows `# %%` cells, or run it as a script.

# %%
from mpzmq import RequestTimeout, blocking
from mpzmq.testing import ContainerProcess

# %% A container, in a process of its own. With one of yours, connect to its address instead.
process = ContainerProcess("functions:server", folder=__file__.rpartition("/")[0] or ".")
process.start()
workshop = blocking.connect(process.endpoint, name="workshop")

# %%
for function in workshop.describe().functions:
    print(function.name + function.signature)

# %%
print(workshop.call("add", 1, 2))

# %% A cell that takes too long ends with its deadline; the stop button of the notebook (Ctrl-C) ends it, too.
try:
    workshop.call("patient", 60, timeout=0.2)
except RequestTimeout as error:
    print(type(error).__name__)

# %% The handle is as good as before.
print(workshop.call("add", 20, 22))
workshop.close()
process.stop()
