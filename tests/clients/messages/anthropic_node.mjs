// /// script
// npm = ["@anthropic-ai/sdk"]
// ///
// The anthropic package for Node.

import assert from "node:assert";
import Anthropic from "@anthropic-ai/sdk";
import { tell } from "./telling.mjs";

const client = new Anthropic({ baseURL: process.env.FUGU_ROOT_URL, apiKey: process.env.FUGU_API_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];
const asked = { model: "fugu", max_tokens: 500 };
const steps = {
  "an answer": async () => {
    const message = await client.messages.create({ ...asked, messages });
    assert.equal(message.content[0].text, "You said: hello");
  },
  "a stream": async () => {
    const stream = client.messages.stream({ ...asked, messages });
    assert.equal(await stream.finalText(), "You said: hello");
  },
  "a tool round trip": async () => {
    const input_schema = { type: "object", properties: { location: { type: "string" } }, required: ["location"] };
    const tools = [{ name: "get_weather", input_schema }];
    const message = await client.messages.stream({ ...asked, messages, tools }).finalMessage();
    const call = message.content.find((block) => block.type === "tool_use");
    assert.deepEqual(call.input, { location: "Paris" });
    const result = { type: "tool_result", tool_use_id: call.id, content: "14 degrees" };
    const told = [...messages, { role: "assistant", content: message.content }, { role: "user", content: [result] }];
    const last = await client.messages.create({ ...asked, messages: told, tools });
    assert.equal(last.content[0].text, "The tool said: 14 degrees");
  },
  "a count": async () => {
    assert((await client.messages.countTokens({ model: "fugu", messages })).input_tokens > 0);
  },
};

await tell("anthropic (Node)", "@anthropic-ai/sdk", steps);
