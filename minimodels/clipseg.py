"""CLIPSeg: a small decoder that asks a frozen CLIP where in the picture the prompt is (lessons 4.1 to 4.3).

Lueddecke and Ecker 2022, "Image Segmentation Using Text and Image Prompts", section 3.
Follows the released weights: the decoder reads the outputs of CLIP's blocks 3, 6 and 9 counted from 0 (the paper's
training files say 3, 7, 9), its blocks are post-norm with ReLU, and the prompt is CLIP's embedding as it comes, not
normalised.

Notation: B images    P prompts    N tokens (class token included)    D decoder width (reduce_dim)    E embed_dim
          H W pixels    h w patch grid
"""

from collections.abc import Sequence

from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from minimodels.blocks import PostNormBlock
from minimodels.clip import CLIP
from minimodels.errors import UserError

NORM_EPS = 1e-5


class Decoder(nn.Module):
    """From the tower's activations and a prompt to mask logits (section 3.1, figure 2).

    It walks from the deepest activation to the shallowest, each added to what it has so far. FiLM, a factor and an
    offset a channel that the prompt decides (Dumoulin et al. 2018), enters once, at the first step.

    Args:
        vision_width: width of the activations. embed_dim: E, width of a prompt.
        num_activations: how many activations it reads; it has one block for each.
        reduce_dim: D (64 and 16 in the released decoders).
        num_heads, mlp_dim: of each block.
        patch_size: pixels a side that each patch token answers for.
        refined_kernels: None enlarges each token to its patch at once. Two numbers whose product is `patch_size`
            enlarge it in two steps after a 3 x 3 convolution (the "refined" release, 4 and 4).

    Raises:
        UserError: `refined_kernels` do not multiply to `patch_size`.
    """

    def __init__(
        self,
        *,
        vision_width: int,
        embed_dim: int,
        num_activations: int,
        reduce_dim: int,
        num_heads: int,
        mlp_dim: int,
        patch_size: int,
        refined_kernels: Sequence[int] | None,
    ):
        super().__init__()
        self.reduces = nn.ModuleList(nn.Linear(vision_width, reduce_dim) for _ in range(num_activations))
        self.film_mul = nn.Linear(embed_dim, reduce_dim)
        self.film_add = nn.Linear(embed_dim, reduce_dim)
        self.blocks = nn.ModuleList(
            PostNormBlock(reduce_dim, num_heads, mlp_dim, activation=nn.ReLU, norm_eps=NORM_EPS)
            for _ in range(num_activations)
        )
        self.head: nn.Module
        if refined_kernels is None:
            self.head = nn.ConvTranspose2d(reduce_dim, 1, patch_size, stride=patch_size)
        else:
            self.head = refined_head(reduce_dim, patch_size, refined_kernels)

    def forward(
        self,
        activations: Sequence[Float[Tensor, "images tokens vision_width"]],
        prompt: Float[Tensor, "#images prompts embed_dim"],
    ) -> Float[Tensor, "images prompts height width"]:
        """Logits (B, P, H, W): each image with each of its own P prompts, or with the P that all share (1, P, E).

        What does not depend on the prompt is computed once an image.
        """
        mul, add = self.film_mul(prompt)[:, :, None], self.film_add(prompt)[:, :, None]  # (B, P, 1, D)
        x = mul * self.reduces[0](activations[-1])[:, None] + add  # (B, P, N, D)
        images, num_prompts = x.shape[:2]
        x = self.blocks[0](rearrange(x, "b p n d -> (b p) n d"))  # (B P, N, D)
        for activation, reduce, block in zip(activations[-2::-1], self.reduces[1:], self.blocks[1:]):
            x = block(x + repeat(reduce(activation), "b n d -> (b p) n d", p=num_prompts))
        side = round((x.shape[1] - 1) ** 0.5)
        grid = rearrange(x[:, 1:], "bp (h w) d -> bp d h w", h=side)  # (B P, D, h, w), without the class token
        return rearrange(self.head(grid), "(b p) 1 h w -> b p h w", b=images)  # (B, P, H, W)


def refined_head(reduce_dim: int, patch_size: int, kernels: Sequence[int]) -> nn.Sequential:
    """The refined head: look at the neighbours, then enlarge twice (the released code's complex_trans_conv).

    Raises:
        UserError: the kernels do not multiply to `patch_size`.
    """
    if len(kernels) != 2:
        raise UserError(f"{len(kernels)} refined_kernels, expected two: the head enlarges twice")
    first, second = kernels
    if first * second != patch_size:
        raise UserError(
            f"refined_kernels {first} and {second} enlarge {first * second} times, a patch has {patch_size} pixels a "
            "side: choose two numbers with that product"
        )
    return nn.Sequential(
        nn.Conv2d(reduce_dim, reduce_dim, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(reduce_dim, reduce_dim // 2, first, stride=first),
        nn.ReLU(),
        nn.ConvTranspose2d(reduce_dim // 2, 1, second, stride=second),
    )


class CLIPSeg(nn.Module):
    """Segment a picture by a prompt: a text, another picture, or any mix of the two (section 3).

    Args:
        clip: whose towers make prompts and activations. Its `image_size` is what its positions were trained for; any
            other square size gets resized positions.
        extract_layers: the tower's blocks whose outputs the decoder reads, counted from 0, ascending.
        reduce_dim, refined_kernels: see `Decoder`. decoder_heads, decoder_mlp_dim: of each decoder block.

    Raises:
        UserError: `extract_layers` are not ascending or the tower has no such block.
    """

    def __init__(
        self,
        clip: CLIP,
        *,
        extract_layers: Sequence[int] = (3, 6, 9),
        reduce_dim: int = 64,
        decoder_heads: int = 4,
        decoder_mlp_dim: int = 2048,
        refined_kernels: Sequence[int] | None = None,
    ):
        super().__init__()
        tower = clip.image_tower
        check_layers(extract_layers, len(tower.blocks))
        self.extract_layers = tuple(extract_layers)
        self.clip = clip
        self.decoder = Decoder(
            vision_width=tower.proj.in_features,
            embed_dim=tower.proj.out_features,
            num_activations=len(extract_layers),
            reduce_dim=reduce_dim,
            num_heads=decoder_heads,
            mlp_dim=decoder_mlp_dim,
            patch_size=tower.patch_size,
            refined_kernels=refined_kernels,
        )

    def forward(
        self, image: Float[Tensor, "images 3 height width"], prompt: Float[Tensor, "#images prompts embed_dim"]
    ) -> Float[Tensor, "images prompts height width"]:
        """Mask logits (B, P, H, W) of normalised square pictures; sigmoid makes them probabilities. See `decode`."""
        return self.decode(self.encode(image), prompt)

    def encode(
        self, image: Float[Tensor, "images 3 height width"]
    ) -> list[Float[Tensor, "images tokens vision_width"]]:
        """What the decoder reads: outputs of the blocks `extract_layers`, shallow to deep, each (B, 1 + h w, width).

        The blocks behind the last of them are not run. Encode a picture once, then `decode` it with any prompts.
        """
        x = self.embed(image)
        activations = []
        for layer, block in enumerate(self.clip.image_tower.blocks[: self.extract_layers[-1] + 1]):
            x = block(x)
            if layer in self.extract_layers:
                activations.append(x)
        return activations

    def decode(
        self,
        activations: Sequence[Float[Tensor, "images tokens vision_width"]],
        prompt: Float[Tensor, "#images prompts embed_dim"],
    ) -> Float[Tensor, "images prompts height width"]:
        """Mask logits (B, P, H, W) from what `encode` gave: each of B images with each of its P prompts.

        Args:
            activations: of B images.
            prompt: unnormalised embeddings (B, P, E), P of its own for each image, or (1, P, E), the same P for every
                image. Of what `encode_text` and `encode_image` give, (T, E), `prompts[None]` asks all of every image,
                `prompts[:, None]` asks one of each.

        Raises:
            UserError: no prompt, counts or widths that do not fit.
        """
        check_prompt(prompt, len(activations[0]), self.decoder.film_mul.in_features)
        return self.decoder(activations, prompt)

    def encode_text(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts embed_dim"]:
        """Prompts (T, E) from texts."""
        return self.clip.encode_text(ids)

    def encode_image(self, picture: Float[Tensor, "pictures 3 height width"]) -> Float[Tensor, "pictures embed_dim"]:
        """Prompts (B, E) from pictures of any square size: the whole tower, its class token projected.

        `minimodels.picture_prompts` makes pictures that show what is meant.
        """
        x, tower = self.embed(picture), self.clip.image_tower
        for block in tower.blocks:
            x = block(x)
        return tower.proj(tower.norm_post(x[:, 0]))  # (B, E)

    def embed(self, image: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images tokens vision_width"]:
        """Tokens before the first block, positions resized bicubically without antialiasing where needed.

        Raises:
            UserError: a picture that is not square, or not a multiple of the patch size.
        """
        check_square(image, self.clip.image_tower.patch_size)
        return self.clip.image_tower.embed(image, resize=True)


def check_square(image: Tensor, patch_size: int) -> None:
    """As high as wide, one patch or more."""
    height, width = image.shape[-2:]
    if height != width or height < patch_size:
        raise UserError(
            f"CLIPSeg reads square pictures of {patch_size}, {2 * patch_size}, {3 * patch_size} ... pixels a side, "
            f"here came {height} x {width} pixels; resize them, as the model's own .preprocess does"
        )


def check_layers(layers: Sequence[int], depth: int) -> None:
    """At least one, ascending, each a block of the tower."""
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= depth:
        raise UserError(
            f"extract_layers {tuple(layers)} must be ascending block numbers from 0 to {depth - 1}: the image tower "
            f"has {depth} blocks"
        )


def check_prompt(prompt: Tensor, images: int, embed_dim: int) -> None:
    """Widths and counts, see `CLIPSeg.decode`."""
    if prompt.ndim != 3 or prompt.shape[-1] != embed_dim:
        raise UserError(
            f"prompts have shape {tuple(prompt.shape)}, expected (images, prompts, {embed_dim}): what encode_text or "
            "encode_image gives, as prompts[None] (all for every image) or prompts[:, None] (one for each image)"
        )
    if prompt.numel() == 0:
        raise UserError(f"empty prompt: its shape is {tuple(prompt.shape)}; give at least one text or picture")
    if len(prompt) not in (1, images):
        raise UserError(
            f"{images} images and prompts for {len(prompt)}: give prompts of its own for each image ({images}), or 1 "
            "row of them for all"
        )
