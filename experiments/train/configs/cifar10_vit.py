r"""A published ViT-S/16 fine-tuned on CIFAR-10 through soft equivariance, as in the paper.

    python -m experiments.train --config experiments/train/configs/cifar10_vit.py \
        --data_dir DATA --workdir outputs/train_cifar10_vit --config.model.weights=WEIGHTS

WEIGHTS is a checkpoint of DeiT-S/16 in safetensors (a folder or a file), or its id on the hub if
huggingface_hub is installed: facebook/deit-small-patch16-224. Images are resized to 224. Meant for
an accelerator (30 epochs of 40,000 images); `method.softness` is that of the patch kernel,
`method.position_softness` that of the position table; `method.group="so2"` is the other group to
try. Not run here: the weights were not at hand.
"""

from experiments.train.config import defaults


def get_config():
    config = defaults()
    config.title = "CIFAR-10, ViT-S/16, soft C4"
    config.model.update(
        name="vit_s16", weights="facebook/deit-small-patch16-224", reset_head=True, num_classes=10
    )
    config.data.update(
        name="cifar10", train="train[:80%]", test="test", image_size=224, resize=True
    )
    config.data.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    config.data.update(batch_size=128, eval_batch_size=128, num_threads=8)
    config.augment.update(rotation=10.0)
    config.method.update(
        name="project", group="c4", rules="soft", softness=0.8, position_softness=0.8
    )
    config.optimizer.update(algorithm="adamw", learning_rate=1e-4, weight_decay=0.0, warmup=0)
    config.run.update(steps=30 * 40_000 // 128, log_every=50, evaluate_every=1000, save_every=1000)
    config.run.update(keep_best=1, best_metric="accuracy")
    return config
