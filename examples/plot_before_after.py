"""Plot a variable as sent, filled, and its uncertainty: notebook cells, or python plot_before_after.py IN.nc OUT.png"""

# %% The file, the figure and the server
import io
import sys
from pathlib import Path

import httpx
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

SERVER = "http://127.0.0.1:8000"
source, target = Path(sys.argv[1]), Path(sys.argv[2])
server = sys.argv[3] if len(sys.argv) > 3 else SERVER
mpl.use("Agg")  # not needed in a notebook

# %% Send the file, read the reply
reply = httpx.post(
    f"{server}/reconstruct",
    content=source.read_bytes(),
    headers={"Content-Type": "application/x-netcdf"},
    timeout=600,
)
if reply.is_error:
    raise SystemExit(f"{reply.status_code}: {reply.json()['detail']}")
filled = xr.open_dataset(io.BytesIO(reply.content), engine="h5netcdf").load()

# %% Choose the first gridded variable, and a time with both gaps and contrast
name = next(str(n).removesuffix("_flag") for n in filled.data_vars if str(n).endswith("_flag") and filled[n].ndim == 3)
time, y, x = (filled[dim].values for dim in filled[name].dims)
field, std, flag = (filled[f"{name}{end}"].values for end in ("", "_std", "_flag"))
gaps = (flag == 1).mean(axis=(1, 2))
step = int(np.argmax(gaps * (1 - gaps) * np.nanstd(field, axis=(1, 2))))

# %% Draw: one colour scale for both fields, another for the uncertainty
sent = np.where(flag == 0, field, np.nan)
low, high = np.nanquantile(sent, [0.005, 0.995])
figure, axes = plt.subplots(1, 3, figsize=(10, 7), sharex=True, sharey=True, layout="constrained")
drawn = axes[0].pcolormesh(x, y, sent[step], vmin=low, vmax=high)
axes[1].pcolormesh(x, y, field[step], vmin=low, vmax=high)
uncertainty = axes[2].pcolormesh(x, y, np.where(flag == 1, std, np.nan)[step], cmap="cividis", vmin=0)
units = filled[name].attrs.get("units", "")
figure.colorbar(drawn, ax=axes[:2], location="bottom", label=f"{name} [{units}]", shrink=0.8)
figure.colorbar(uncertainty, ax=axes[2], location="bottom", label=f"standard deviation [{units}]")
for axis, title in zip(axes, ("as sent", "filled", "uncertainty"), strict=True):
    axis.set(title=title, facecolor="#e4e8eb", aspect="equal")
figure.suptitle(f"{name}, {np.datetime_as_string(time[step], 'D')}")
figure.savefig(target, dpi=150)
print(f"{target}: {int((flag == 1).sum())} values filled")
