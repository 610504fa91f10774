import pytest
import torch
from transformers import PreTrainedTokenizerFast

from models.conductor.learn.grpo import adapted
from models.conductor.learn.sft import IGNORED, Example, Tuning, _encoded, batched, fit, tune
from models.conductor.plan.checkpoint import complete, load, prompt_ids
from models.house.conductor import TINY
from models.house.qwen import fresh, train_tokenizer

EXAMPLES = [Example(f"question: {word}\n", f"model_id = [{len(word)}]") for word in ("up", "tea", "boat", "cloud")] * 16


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([example.prompt + example.completion for example in EXAMPLES], 300)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return fresh(TINY)


TUNING = Tuning(epochs=16, batch=8, learning_rate=3e-3, seed=1)


def test_only_the_completion_and_its_end_carry_a_loss(tokenizer):
    prompt, completion = EXAMPLES[0].prompt, EXAMPLES[0].completion
    ids, unscored = tokenizer(prompt + completion)["input_ids"] + [0], len(tokenizer(prompt)["input_ids"])
    (batch,) = batched([(ids, unscored)], 1)
    labels = batch.labels[0].tolist()
    assert labels[:unscored] == [IGNORED] * unscored
    assert labels[unscored:] == ids[unscored:]


def test_padding_carries_no_loss_and_is_not_attended_to():
    (batch,) = batched([([5, 6, 7], 1), ([5], 0)], 2)
    assert sorted(batch.mask.sum(1).tolist()) == [1, 3]
    assert bool((batch.labels[batch.mask == 0] == IGNORED).all())


def test_it_learns_what_the_prompt_decides(model, tokenizer):
    loss = tune(model, tokenizer, EXAMPLES, TUNING)
    assert loss < 0.3
    prompts = [example.prompt for example in EXAMPLES[:4]]
    said = complete(model, tokenizer, prompts, max_tokens=20, temperatures=[0.0] * 4, seeds=[0] * 4)
    assert said == [example.completion for example in EXAMPLES[:4]]


def test_equal_seeds_give_equal_weights_and_leave_the_callers_randomness_alone(tokenizer):
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(3)
        model = fresh(TINY)
        before = torch.get_rng_state()
        tune(model, tokenizer, EXAMPLES, Tuning(epochs=1, batch=8, learning_rate=1e-3, seed=seed))
        assert torch.equal(before, torch.get_rng_state())
        weights.append(model.model.layers[0].mlp.up_proj.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_messages_go_through_the_chat_template_where_there_is_one(tokenizer):
    messages = [{"role": "user", "content": "tea"}]
    raw = prompt_ids(tokenizer, messages)
    assert tokenizer.decode(raw) == "tea\n\n"
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    assert tokenizer.decode(prompt_ids(tokenizer, messages)) == "<user>tea<assistant>"


def test_progress_is_told_up_to_the_end(model, tokenizer):
    told = []
    tune(model, tokenizer, EXAMPLES, Tuning(batch=8, learning_rate=1e-3), told.append)
    assert told == sorted(told) and told[-1] == 1.0


def test_an_example_too_long_loses_the_start_of_its_prompt_not_the_completion(tokenizer):
    whole, unscored = _encoded(tokenizer, EXAMPLES[0], 1000)
    assert _encoded(tokenizer, EXAMPLES[0], len(whole) - 1) == (whole[1:], unscored - 1)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def rows(count):
    torch.manual_seed(5)
    return [(torch.randint(TINY.vocabulary, (6 + n,)).tolist(), 2) for n in range(count)]


def test_small_steps_are_not_lost_on_a_model_that_was_loaded_in_half_precision(model):
    before = weights(model.bfloat16())
    fit(model, list(batched(rows(8), 8)), 1e-6)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    changed = (weights(model) != before.float()).float().mean()
    assert changed > 0.5  # words that no row holds have no gradient, but decay


def test_only_what_is_trained_is_held_in_single_precision(model):
    model = adapted(model.bfloat16(), 4, seed=0)
    fit(model, list(batched(rows(8), 8)), 1e-3)
    kinds = {parameter.requires_grad: parameter.dtype for parameter in model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


def test_a_batch_in_parts_is_the_same_step(tokenizer, monkeypatch):
    # In double precision: Adam's first steps are as large for a gradient of rounding errors as for any other.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    trained, losses = [], []
    for micro_batch in (0, 3):
        torch.manual_seed(3)
        model = fresh(TINY).double()
        losses.append(fit(model, list(batched(rows(16), 8)), 1e-3, micro_batch=micro_batch))
        trained.append(weights(model))
    assert trained[0].dtype == torch.float64
    assert torch.allclose(*trained, atol=1e-9)
    assert torch.allclose(*(torch.tensor(each) for each in losses), atol=1e-9)


def test_what_a_hub_says_of_generation_does_not_change_what_is_written(model, tokenizer, tmp_path):
    model.generation_config.update(repetition_penalty=1.5, no_repeat_ngram_size=2, suppress_tokens=[5])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, tokenizer = load(tmp_path)
    ids = prompt_ids(tokenizer, "question: tea\n")
    start = len(ids)
    while len(ids) < start + 12:
        with torch.no_grad():
            ids.append(int(loaded(torch.tensor([ids])).logits[0, -1].argmax()))
    said = complete(loaded, tokenizer, ["question: tea\n"], max_tokens=12, temperatures=[0.0], seeds=[0])
    assert loaded.generation_config.eos_token_id not in ids[start:]
    assert said == [tokenizer.decode(ids[start:], skip_special_tokens=True)]
