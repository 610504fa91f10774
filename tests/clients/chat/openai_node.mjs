// /// script
// npm = ["openai"]
// ///
// The openai package for Node: chat completions.

import assert from "node:assert";
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const { version } = JSON.parse(readFileSync(`${process.env.CLIENT_HOME}/node_modules/openai/package.json`));
const client = new OpenAI({ baseURL: process.env.FUGU_BASE_URL, apiKey: process.env.FUGU_API_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];
const steps = {
  "an answer": async () => {
    const reply = await client.chat.completions.create({ model: "fugu", messages });
    assert.equal(reply.choices[0].message.content, "You said: hello");
  },
  "a stream": async () => {
    const stream = await client.chat.completions.create({ model: "fugu", messages, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    assert.equal(text, "You said: hello");
  },
  "a tool round trip by its runner": async () => {
    const parameters = { type: "object", properties: { location: { type: "string" } }, required: ["location"] };
    const get_weather = ({ location }) => `14 degrees in ${location}`;
    const tool = { name: "get_weather", parse: JSON.parse, function: get_weather, parameters };
    const tools = [{ type: "function", function: tool }];
    const runner = client.chat.completions.runTools({ model: "fugu", messages, tools });
    assert.equal(await runner.finalContent(), "The tool said: 14 degrees in Paris");
  },
};

const row = { client: "openai (Node), chat completions", version, did: [], ok: true };
for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
    row.did.push(name);
  } catch (error) {
    Object.assign(row, { ok: false, error: `${name}: ${error}` });
    break;
  }
}
console.log(JSON.stringify(row));
