"""A server of this process's own that answers for mini-gpt in each dialect, rightly or with one fault."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from peftbench.models.load import load
from peftbench.spec.cell import Server

MODEL = "mini-gpt"
FORMS = ("bias", "ids", "sglang", "echo")
DIALECTS = {"bias": "next-token", "ids": "next-token", "sglang": "sglang", "echo": "echo"}
MOST_READ = 100
BOUND = threading.Lock()


@cache
def backbone():
    return load(MODEL, device="cpu")


@cache
def log_probs(ids):
    """(tokens, vocab_size): at each place, of the token after it."""
    with BOUND, torch.inference_mode():
        hidden = backbone().model(input_ids=torch.tensor([ids])).logits[0]
        return hidden.float().log_softmax(-1)


class Stub:
    """What is served.

    Args:
        form: One of FORMS.
        fault: What it does wrongly; "" for nothing.
    """

    def __init__(self, form, fault=""):
        self.form, self.fault = form, fault
        self.requests, self.bodies, self.headers = 0, [], []

    def rows(self, ids):
        """Log-probabilities after each of the ids, as this server has them."""
        values = log_probs(tuple(ids))
        is_other = self.fault == "two models" and self.requests > 30 and self.requests % 2
        if is_other or (self.fault == "swapped" and self.requests > self.swap_after):
            values = (values * 0.7).log_softmax(-1)
        return values

    swap_after, last, is_bare = 0, 0, False

    def text(self, ids):
        """The text of tokens, as this server's tokenizer has them."""
        shift = 1 if self.fault == "tokenizer" else 0
        return backbone().tokenizer.backend_tokenizer.decode([token + shift for token in ids])

    def post(self, path, body):
        answer = {"bias": self.by_bias, "ids": self.by_ids, "sglang": self.by_sglang, "echo": self.by_echo}[self.form]
        if path == "/tokenize" and self.form in ("bias", "ids") and not self.is_bare:
            ids = backbone().tokenizer.backend_tokenizer.encode(body["content"], add_special_tokens=False).ids
            return {"tokens": [token + 1 for token in ids] if self.fault == "tokenizer" else ids}
        return answer(path, body)

    def get(self, path):
        if path == "/v1/models":
            return {"data": [{"id": MODEL, "meta": {"n_params": 1_541_760}}]}
        of_kind = {
            "bias": ("/props", {"default_generation_settings": {"n_ctx": 1024}, "build_info": "b1"}),
            "ids": ("/version", {"version": "0.32"}),
            "sglang": ("/get_model_info", {"model_path": MODEL}),
        }
        page, answer = of_kind.get(self.form, ("", None))
        return answer if path == page else None

    def by_bias(self, path, body):
        if path != "/completion":
            return None
        after = self.rows(body["prompt"])[-1]
        greedy = int(after.argmax())
        forced = body.get("logit_bias")
        token = forced[0][0] if forced and self.fault != "unforced" else greedy
        value = 0.0 if self.fault == "processed" else float(after[token])
        listed = [{"id": token, "logprob": None if self.fault == "nulls" else value, "token": self.text([token])}]
        if self.fault == "one too many":
            listed *= 2
        num_read = min(len(body["prompt"]), MOST_READ if self.fault == "cuts prompts" else len(body["prompt"]))
        answer = {"completion_probabilities": listed, "prompt": self.text(body["prompt"]), "tokens_evaluated": num_read}
        return answer | {"timings": {"cache_n": len(body["prompt"]) - 1}}

    def by_ids(self, path, body):
        if path != "/v1/completions" or body.get("echo"):
            return None
        after = self.rows(body["prompt"])[-1]
        ids = {int(after.argmax()), *(body.get("logprob_token_ids") or [])}
        table = {f"token_id:{token}": None if self.fault == "nulls" else float(after[token]) for token in ids}
        text = self.text([int(after.argmax())])
        return self.legacy([body["prompt"]], [{"logprobs": {"top_logprobs": [table]}, "index": 0, "text": text}])

    def by_echo(self, path, body):
        if path != "/v1/completions":
            return None
        if not body.get("echo"):  # the twenty likeliest of what it generates, by their texts
            top = {str(token): -0.1 for token in range(20)}
            return self.legacy([body["prompt"]], [{"logprobs": {"top_logprobs": [top]}, "index": 0}])
        choices = [self.echoed(index, ids) for index, ids in enumerate(body["prompt"])]
        return self.legacy(body["prompt"], choices[::-1])

    def echoed(self, index, ids):
        rows = self.rows(ids)
        greedy = int(rows[-1].argmax())
        values = [None, *(float(rows[place][token]) for place, token in enumerate(ids[1:]))]
        if self.fault == "off by one":
            values = [None, *(float(rows[place + 1][token]) for place, token in enumerate(ids[1:]))]
        if self.fault == "nulls":
            values = [None] * len(ids)
        values.append(float(rows[-1][greedy]))
        tokens = [f"token_id:{token}" for token in (*ids, greedy)]
        if self.fault == "echo ignored":
            values, tokens = values[-1:], tokens[-1:]
        if self.fault == "one too many":
            values, tokens = [*values, -1.0], [*tokens, tokens[-1]]
        text = self.text([*ids, greedy])
        return {"index": index, "text": text, "logprobs": {"token_logprobs": values, "tokens": tokens}}

    def by_sglang(self, path, body):
        if path != "/generate":
            return None
        answers = []
        for ids, first in zip(body["input_ids"], body["logprob_start_len"], strict=True):
            rows = self.rows(ids)
            greedy = int(rows[-1].argmax())
            shift = 1 if self.fault == "off by one" else 0
            values = [[None, ids[first], None]]
            values += [
                [float(rows[place - 1 + shift][ids[place]]), ids[place], None] for place in range(first + 1, len(ids))
            ]
            if self.fault == "nulls":
                values = [[None, token, None] for _, token, _ in values]
            generated = [[float(rows[-1][greedy]), greedy, None]]
            if body.get("return_text_in_logprobs"):
                values, generated = (
                    [[value, token, self.text([token])] for value, token, _ in part] for part in (values, generated)
                )
            info = {"input_token_logprobs": values, "output_token_logprobs": generated, "cached_tokens": first}
            answers.append({"meta_info": info | {"completion_tokens": 1}})
        return answers

    def legacy(self, prompts, choices):
        sent = sum(map(len, prompts)) + (1 if self.fault == "counts" else 0)
        return {"choices": choices, "usage": {"prompt_tokens": sent, "completion_tokens": len(prompts)}}


class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, -1

    def do_GET(self):
        self.send(self.server.stub.get(self.path), 401 if self.server.stub.fault == "locked" else 200)

    def do_POST(self):
        stub = self.server.stub
        stub.requests += 1
        stub.headers.append(dict(self.headers))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stub.bodies.append((self.path, body))
        if stub.fault == "locked":
            return self.send({"error": f"no access by {self.headers.get('Authorization')}"}, 401)
        if stub.fault == "429" and stub.requests % 3 == 0:
            return self.send({"error": "slow down"}, 429)
        if stub.fault == "broken" and stub.requests > stub.last:
            return self.send({"error": "no"}, 503)
        if stub.fault == "cut" and stub.requests % 5 == 0:
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        if stub.fault == "slow":
            time.sleep(0.02)
        answer = stub.post(self.path, body)
        if stub.fault == "cut inside" and stub.requests % 5 == 0:
            return self.write(json.dumps(answer).encode(), 200, num_kept=9)
        if stub.fault == "html" and self.path != "/tokenize":
            return self.write(b"<html><body>Sign in</body></html>", 200)
        if stub.fault == "truncated" and self.path != "/tokenize":
            return self.write(json.dumps(answer).encode()[:-9], 200)
        return self.send(answer)

    def send(self, answer, status=200):
        self.write(json.dumps(answer).encode(), 404 if answer is None else status)

    def write(self, text, status, num_kept=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text[:num_kept])
        self.close_connection = num_kept is not None

    def log_message(self, *_):
        pass


@contextmanager
def serving(form, fault="", **facts):
    """A stub at work, and how a cell names it."""
    stub = Stub(form, fault)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads, http.stub = True, stub
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stub, Server(url=f"http://127.0.0.1:{http.server_port}", tokenizer=MODEL, **facts)
    finally:
        http.shutdown()
        http.server_close()
