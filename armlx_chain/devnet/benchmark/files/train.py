"""Train a small causal language model for a fixed budget and print its bits per byte.

Usage: python train.py
This file is the only one that an experiment may change.
"""

import gc
import math
import time
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map
from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, budget_clock, evaluate_bpb, make_dataloader

# ---------------------------------------------------------------------------
# Model
# ---------------------------------------------------------------------------


@dataclass
class GPTConfig:
    sequence_len: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int


def norm(x):
    return mx.fast.rms_norm(x, None, 1e-5)


def causal_mask(seq_len):
    position = mx.arange(seq_len)
    return position[None, :] <= position[:, None]


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.head_dim = config.n_embd // config.n_head
        self.c_qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.rope = nn.RoPE(self.head_dim, base=1000)

    def __call__(self, x, mask):
        batch, seq_len, width = x.shape
        qkv = self.c_qkv(x).reshape(batch, seq_len, 3, self.n_head, self.head_dim).transpose(2, 0, 3, 1, 4)
        q, k, v = norm(self.rope(qkv[0])), norm(self.rope(qkv[1])), qkv[2]
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=1 / math.sqrt(self.head_dim), mask=mask)
        return self.c_proj(y.transpose(0, 2, 1, 3).reshape(batch, seq_len, width))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def __call__(self, x):
        return self.c_proj(mx.square(mx.maximum(self.c_fc(x), 0)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attn = CausalSelfAttention(config)
        self.mlp = MLP(config)

    def __call__(self, x, mask):
        x = x + self.attn(norm(x), mask)
        return x + self.mlp(norm(x))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = [Block(config) for _ in range(config.n_layer)]
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.init_weights()

    def init_weights(self):
        width = self.config.n_embd
        self.wte.weight = mx.random.normal(self.wte.weight.shape)
        self.lm_head.weight = mx.zeros_like(self.lm_head.weight)
        for block in self.blocks:
            for layer in (block.attn.c_qkv, block.mlp.c_fc):
                layer.weight = mx.random.normal(layer.weight.shape) / math.sqrt(width)
            for layer in (block.attn.c_proj, block.mlp.c_proj):
                layer.weight = mx.zeros_like(layer.weight)

    def features(self, idx):
        x = norm(self.wte(idx))
        mask = causal_mask(idx.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        return norm(x)

    def logits(self, idx):
        return self.lm_head(self.features(idx)).astype(mx.float32)

    def __call__(self, idx, targets=None, reduction="mean"):
        logits = self.logits(idx)
        if targets is None:
            return logits
        return nn.losses.cross_entropy(logits, targets, reduction=reduction)


# ---------------------------------------------------------------------------
# Optimizer
# ---------------------------------------------------------------------------


class AdamW:
    """Adam with decoupled weight decay on matrices of the blocks."""

    def __init__(self, model, lr, betas, weight_decay):
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.m = tree_map(mx.zeros_like, model.trainable_parameters())
        self.v = tree_map(mx.zeros_like, model.trainable_parameters())
        self.t = 0

    def update(self, model, grads, lr_scale):
        self.t += 1
        beta1, beta2 = self.betas
        lr = self.lr * lr_scale
        step = lr / (1 - beta1**self.t)
        bias2 = 1 - beta2**self.t
        self.m = tree_map(lambda m, g: beta1 * m + (1 - beta1) * g, self.m, grads)
        self.v = tree_map(lambda v, g: beta2 * v + (1 - beta2) * mx.square(g), self.v, grads)
        new = tree_map(
            lambda p, m, v: p * (1 - lr * self.weight_decay) - step * m / (mx.sqrt(v / bias2) + 1e-8),
            model.trainable_parameters(),
            self.m,
            self.v,
        )
        model.update(new)
        mx.eval(model.parameters(), self.m, self.v)


# ---------------------------------------------------------------------------
# Hyperparameters
# ---------------------------------------------------------------------------

SEED = 42
DEPTH = 2
WIDTH = 32
HEADS = 2
DEVICE_BATCH_SIZE = 8  # rows of one forward and backward pass
TOTAL_BATCH_SIZE = 8 * MAX_SEQ_LEN  # tokens of one step
LEARNING_RATE = 0.016
ADAM_BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.1
WARMUP_RATIO = 0.05
WARMDOWN_RATIO = 0.5
FINAL_LR_FRAC = 0.05
FINAL_EVAL_BATCH_SIZE = 64
STARTUP_EXCLUDE_STEPS = 2  # steps that are not billed: memory and kernels warm up


def get_lr_multiplier(progress):
    """Trapezoid: up, level, down; ``progress`` is the used part of the budget."""
    if progress < WARMUP_RATIO:
        return progress / WARMUP_RATIO
    if progress < 1 - WARMDOWN_RATIO:
        return 1.0
    left = max(0.0, (1 - progress) / WARMDOWN_RATIO)
    return left + (1 - left) * FINAL_LR_FRAC


# ---------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------

t_start = time.time()
mx.random.seed(SEED)

tokenizer = Tokenizer.from_directory()
vocab_size = tokenizer.get_vocab_size()
train_loader = make_dataloader(tokenizer, DEVICE_BATCH_SIZE, MAX_SEQ_LEN, "train")

config = GPTConfig(MAX_SEQ_LEN, vocab_size, DEPTH, HEADS, WIDTH)
model = GPT(config)
mx.eval(model.parameters())
num_params = sum(value.size for _, value in tree_flatten(model.parameters()))
optimizer = AdamW(model, LEARNING_RATE, ADAM_BETAS, WEIGHT_DECAY)
loss_and_grads = nn.value_and_grad(model, lambda inputs, targets: model(inputs, targets))
micro_steps = TOTAL_BATCH_SIZE // (DEVICE_BATCH_SIZE * MAX_SEQ_LEN)
print(f"Loaded in {time.time() - t_start:.1f}s; {num_params} parameters; budget {TIME_BUDGET}s")

smooth_loss = 0.0
training_seconds = 0.0
step = 0
t_train = time.time()

while step < STARTUP_EXCLUDE_STEPS or training_seconds < TIME_BUDGET:
    t0 = budget_clock()
    progress = min(training_seconds / TIME_BUDGET, 1.0)
    grads = None
    loss = mx.array(0.0)
    for _ in range(micro_steps):
        x, y, epoch = next(train_loader)
        micro_loss, micro_grads = loss_and_grads(x, y)
        loss = loss + micro_loss / micro_steps
        micro_grads = tree_map(lambda grad: grad / micro_steps, micro_grads)
        grads = micro_grads if grads is None else tree_map(mx.add, grads, micro_grads)
        mx.eval(loss, grads)
    optimizer.update(model, grads, get_lr_multiplier(progress))

    train_loss = loss.item()
    if not train_loss < 100:
        print("FAIL")
        raise SystemExit(1)
    smooth_loss = 0.9 * smooth_loss + 0.1 * train_loss
    if step == 0:
        gc.freeze()
        gc.disable()
    if step >= STARTUP_EXCLUDE_STEPS:
        training_seconds += budget_clock() - t0
    step += 1
    if step % 10 == 0:
        shown = smooth_loss / (1 - 0.9**step)
        print(
            f"\rstep {step:05d} ({100 * progress:.1f}%) | loss: {shown:.6f} | epoch: {epoch}    ",
            end="",
            flush=True,
        )

print()
t_eval = time.time()
print(f"Training completed in {t_eval - t_train:.1f}s")
val_bpb = evaluate_bpb(model, tokenizer, FINAL_EVAL_BATCH_SIZE)
t_end = time.time()
print(f"Final eval completed in {t_end - t_eval:.1f}s")

print("---")
print(f"val_bpb:          {val_bpb:.6f}")
print(f"training_seconds: {training_seconds:.1f}")
print(f"total_seconds:    {t_end - t_start:.1f}")
print(f"peak_vram_mb:     {mx.get_peak_memory() / 2**20:.1f}")
print(f"mfu_percent:      {0.0:.2f}")
print(f"total_tokens_M:   {step * TOTAL_BATCH_SIZE / 1e6:.3f}")
print(f"num_steps:        {step}")
print(f"num_params_M:     {num_params / 1e6:.3f}")
print(f"depth:            {DEPTH}")
