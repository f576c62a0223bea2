"""Compacter++: adapters of low-rank hypercomplex layers behind the feed-forward blocks only.

    y + PHM_up(gelu(PHM_down(y)))          PHM(x) = (sum_i A_i (x) s_i t_i) x + b          i = 1 .. phm_dim

(x) is the Kronecker product; the A_i are shared by all layers.

Paper: 2106.04647, section 5.
Differs: T-Few gives each layer its own A_i (`shared_phm_rule = false`) and trains all layer norms; its published
    540K parameters are neither that count (560,128) nor that of shared rules, and how they come about is not known.
    Cross-attention gets no adapter, as in the authors' code. T-Few's activation is ReLU, ours GELU, as the paper's.
    The rules start N(0, 0.02^2) as T-Few's; in Compacter's code N(0, 0.01^2) where each layer has its own, and where
    one is shared as its configuration says, N(0, 0.0001^2).
"""

from typing import Any

from peftbench.methods.parts import phm

PAPER = "2106.04647, section 5"
IDENTITY_AT_INIT = False  # near it: the Kronecker products start small, not at zero
DEAD: dict[str, str] = {}
# The rules start small, and scale_parameter would make their steps small too.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}

Config = phm.Config
PLACEMENT = phm.Placement("Compacter++", attention=False)
attach, added = PLACEMENT.attach, PLACEMENT.added

merge = None
UNMERGEABLE = "the activation stands between the two layers"
