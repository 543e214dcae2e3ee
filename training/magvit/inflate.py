"""A 3D network from the 2D one of the same layout: kernels 1xkxk become kxkxk."""
import torch


def inflate(flat, shapes, how="central"):
    """flat: state of the 2D network; shapes: state of the 3D one -> a state of the latter's shapes.

    central: the 2D kernel in the middle of the 3D one, zeros before and after; average: spread evenly over T.
    What has one shape in both is copied.  Either way a clip that stands still passes as its frame does in 2D, "central"
    at any padding, "average" where the padding reflects.
    """
    assert how in ("central", "average"), how
    out = {}
    for name, like in shapes.items():
        v = flat[name].to(like.device)
        if v.shape != like.shape:
            k = like.shape[2]
            if v.shape != (*like.shape[:2], 1, *like.shape[3:]):
                raise ValueError(f"{name}: {tuple(v.shape)} cannot become {tuple(like.shape)}")
            kernel = torch.zeros_like(like)
            if how == "central":
                kernel[:, :, k // 2] = v[:, :, 0]
            else:
                kernel[:] = v / k
            v = kernel
        out[name] = v.clone()
    return out
