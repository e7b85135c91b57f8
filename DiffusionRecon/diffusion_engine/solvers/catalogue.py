"""The methods on offer: one literal entry each. Labels of spread are earned from the truth table."""

from __future__ import annotations

from .ccdf import CCDFSettings, ccdf
from .consistency import ConsistencySettings, consistency
from .contract import GAUSSIAN, POISSON, Method
from .csgm import CSGMSettings, csgm
from .daps import DAPSSettings, daps
from .ddnm import DDNMSettings, ddnm
from .ddrm import DDRMSettings, ddrm
from .dds import DDSSettings, dds
from .diffpir import DiffPIRSettings, diffpir
from .diffusion_blend import DiffusionBlendSettings, diffusion_blend
from .diffusion_mbir import DiffusionMBIRSettings, diffusion_mbir
from .dps import DPSSettings, dps
from .hijack import HijackSettings, hijack
from .ilvr import ILVRSettings, ilvr
from .mcg import MCGSettings, mcg
from .mmps import MMPSSettings, mmps
from .padis import PaDISSettings, padis
from .pet_dds import PETDDSSettings, pet_dds
from .pfgm import PFGMSettings, pfgm
from .pigdm import PiGDMSettings, pigdm
from .pnp_dm import PnPDMSettings, pnp_dm
from .r2d2 import R2D2Settings, r2d2
from .red_diff import REDDiffSettings, red_diff
from .resample import ReSampleSettings, resample
from .scd import SCDSettings, scd
from .score_mri import ScoreMRISettings, score_mri
from .song import SongSettings, song
from .tmpd import TMPDSettings, tmpd
from .tpdm import TPDMSettings, tpdm
from .tweedie import TweedieSettings, tweedie

ANY = (GAUSSIAN, POISSON)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "dds", "Decomposed diffusion sampling", "fast and accurate images from a linear scan", dds, DDSSettings,
            "concentrated", "image", ("ct", "mri"), "30", "arXiv:2303.05754",
            work=30, stacks=True,
        ),
        Method(
            "pet_dds", "PET-DDS", "fast images from counts, by their own likelihood and never below 0", pet_dds,
            PETDDSSettings, "concentrated", "image", ("pet",), "30", "arXiv:2308.14190",
            work=40, ties=True, likelihoods=(POISSON,),
        ),
        Method(
            "mmps", "Moment matching posterior sampling", "samples near the posterior, by its probability flow", mmps,
            MMPSSettings, "near-posterior", "noise", ("ct", "mri"), "31, and 90 to 770 Jacobian products",
            "arXiv:2405.13712",
            work=340, earned=("ct", "mri"),
        ),
        Method(
            "tmpd", "Tweedie moment projected diffusion", "samples near the posterior, by its reverse diffusion", tmpd,
            TMPDSettings, "near-posterior", "noise", ("ct", "mri"), "50, and 150 or more Jacobian products",
            "arXiv:2310.06721",
            work=500, earned=("ct", "mri"),
        ),
        Method(
            "pnp-dm", "Plug-and-play diffusion models", "samples near the posterior without Jacobian products",
            pnp_dm, PnPDMSettings, "concentrated", "noise", (), "2880", "arXiv:2405.18782",
            work=2880,
        ),
        Method(
            "daps", "Decoupled annealing posterior sampling", "samples for any noise model in few calls", daps,
            DAPSSettings, "concentrated", "noise", (), "420", "arXiv:2407.01521",
            work=420,
        ),
        Method(
            "song", "Song's projection", "baseline: predictor and corrector, each with a projection onto the data",
            song, SongSettings, "concentrated", "image", ("ct",), "60", "arXiv:2111.08005",
            work=60,
        ),
        Method(
            "score_mri", "Score-MRI", "baseline: measured k-space put back after every move",
            score_mri, ScoreMRISettings, "concentrated", "image", ("mri",), "100", "arXiv:2110.05243",
            work=100,
        ),
        Method(
            "csgm", "Annealed Langevin sampling", "baseline: score and data gradient in every step, no projection",
            csgm, CSGMSettings, "concentrated", "image", ("mri",), "180", "arXiv:2108.01368",
            work=180,
        ),
        Method(
            "ilvr", "Iterative latent variable refinement", "keeps the low frequencies of an image, redraws the others",
            ilvr, ILVRSettings, "concentrated", "image", ("ct",), "30", "arXiv:2108.02938",
            work=30,
        ),
        Method(
            "r2d2", "Regularised reverse diffusion (R2D2+)", "removes noise and adds resolution, low frequencies kept",
            r2d2, R2D2Settings, "concentrated", "image", (), "30", "arXiv:2203.12621",
            work=30,
        ),
        Method(
            "mcg", "Manifold constrained gradient", "baseline: a gradient through the denoiser, then a projection",
            mcg, MCGSettings, "concentrated", "image", ("ct",), "30, each with its gradient", "arXiv:2206.00941",
            work=90,
        ),
        Method(
            "ccdf", "Come closer, diffuse faster", "DDIM from a classical image, projected onto the data at each level",
            ccdf, CCDFSettings, "concentrated", "image", ("ct",), "30", "arXiv:2112.05146",
            work=30,
        ),
        Method(
            "hijack", "Posterior denoising", "denoises a finished image in seconds, without its measurement",
            hijack, HijackSettings, "point", "image", ("ct",), "4", "arXiv:2312.09754",
            work=4,
        ),
        Method(
            "tweedie", "Noise2Score", "one-step denoising of Gaussian, Poisson or gamma noise, without a measurement",
            tweedie, TweedieSettings, "point", "image", ("ct",), "1", "arXiv:2106.07009",
            work=1,
        ),
        Method(
            "consistency", "Few-step sampling", "an image in a few calls: denoise, agree with the data, noise again",
            consistency, ConsistencySettings, "concentrated", "image", ("ct",), "4", "arXiv:2303.01469",
            work=4, stacks=True,
        ),
        Method(
            "dps", "Diffusion posterior sampling", "counts and other nonlinear measurements; slow", dps, DPSSettings,
            "concentrated", "image", ("ct",), "100, each with its reverse", "arXiv:2209.14687",
            work=300, likelihoods=ANY,
        ),
        Method(
            "pigdm", "Pseudo-inverse guidance", "linear scans, guided through the network", pigdm, PiGDMSettings,
            "concentrated", "image", ("ct",), "30, each with its reverse", "openreview:9_gsMA8MRKQ",
            work=90,
        ),
        Method(
            "ddnm", "Denoising diffusion null-space model", "linear scans; replaces what was measured", ddnm,
            DDNMSettings, "concentrated", "image", ("ct",), "30", "arXiv:2212.00490",
            work=30,
        ),
        Method(
            "ddrm", "Denoising diffusion restoration", "operators with known singular values, such as masks", ddrm,
            DDRMSettings, "concentrated", "image", (), "50", "arXiv:2201.11793",
            work=50,
        ),
        Method(
            "diffpir", "Plug-and-play restoration by diffusion", "linear scans with one weight of the prior", diffpir,
            DiffPIRSettings, "concentrated", "image", ("ct",), "30", "arXiv:2305.08995",
            work=30, stacks=True,
        ),
        Method(
            "red_diff", "Regularisation by denoising diffusion", "one image by gradient descent; any noise model",
            red_diff, REDDiffSettings, "point", "image", ("ct",), "100", "arXiv:2305.04391",
            work=100, likelihoods=ANY,
        ),
        Method(
            "pfgm", "PFGM++ posterior sampling", "samples with heavy-tailed noise, for models trained with it", pfgm,
            PFGMSettings, "concentrated", "image", ("ct",), "30", "arXiv:2302.04265",
            work=30, stacks=True,
        ),
        Method(
            "padis", "Patch diffusion (PaDIS)", "any image size from a prior of patches, by guided Langevin steps",
            padis, PaDISSettings, "concentrated", "image", ("ct",), "60 with gradients", "arXiv:2406.02462",
            work=180,
        ),
        Method(
            "resample", "ReSample", "latent priors, with the data fitted in image and latent space", resample,
            ReSampleSettings, "concentrated", "noise", (), "60, and gradients of the decoder", "arXiv:2307.08123",
            work=180,
        ),
        Method(
            "diffusion_mbir", "DiffusionMBIR", "stacks of slices tied by total variation along z", diffusion_mbir,
            DiffusionMBIRSettings, "concentrated", "image", ("ct",), "199", "arXiv:2211.10655",
            work=199, ties=True,
        ),
        Method(
            "tpdm", "Two perpendicular priors (TPDM)", "volumes with priors of two planes", tpdm, TPDMSettings,
            "concentrated", "image", (), "about 650", "arXiv:2303.08440",
            work=650, ties=True,
        ),
        Method(
            "diffusion_blend", "DiffusionBlend++", "volumes with a prior of three neighbouring slices",
            diffusion_blend, DiffusionBlendSettings, "concentrated", "image", (), "50, of three slices each",
            "arXiv:2406.10211",
            work=50, ties=True,
        ),
        Method(
            "scd", "Steerable conditional diffusion", "anatomy unknown to the trained model: it adapts to the data",
            scd, SCDSettings, "concentrated", "image", ("ct",), "60, and 216 with gradients", "arXiv:2308.14409",
            work=708,
        ),
    )
}


def method_named(name: str) -> Method:
    """The entry of a method; raises ValueError with the names there are."""
    if name not in METHODS:
        raise ValueError(f"no method named '{name}': choose from {sorted(METHODS)}")
    return METHODS[name]
