"""2.4.3  A conversion table  (20 minutes, difficulty 3 of 5)

Write the table that turns the weights of a transformers ViT, as they lie
on the hub, into this project's names. A row is

    (reference name, our name)                    renamed only
    (reference name, our name, operation)         and changed
    (reference name, None, "why it is dropped")   known and dropped

`{i}` stands for the number of a block. `{query,key,value}` in a reference name
stands for three tensors that become one, in this order, with `STACK_ROWS`.

    theirs (b is vit.encoder.layer.{i})                   ours
    vit.embeddings.cls_token          (1, 1, D)       class_token (D)
    vit.embeddings.position_embeddings (1, 1+N, D)    pos (1+N, D)
    vit.embeddings.patch_embeddings.projection
        .weight (D, 3, p, p), .bias                   patch_proj (D, 3pp)
    b.layernorm_before                                blocks.{i}.norm1
    b.attention.attention.query, .key, .value         blocks.{i}.attn.qkv
    b.attention.output.dense                          blocks.{i}.attn.out_proj
    b.layernorm_after                                 blocks.{i}.norm2
    b.intermediate.dense                              blocks.{i}.mlp.fc1
    b.output.dense                                    blocks.{i}.mlp.fc2
    vit.layernorm                                     norm
    vit.pooler.dense                                  dropped
    classifier                                        head

Everything but the first two has a .weight and a .bias. The table is plain
Python: a loop over ("weight", "bias") saves half of the typing.
"""

from checkpoints_convert.tables.rules import FIRST, FIRST_FIRST, FLATTEN_KERNEL, STACK_ROWS

TABLE = []
