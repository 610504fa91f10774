// /// script
// npm = ["openai"]
// ///
// The openai package for Node: chat completions.

import assert from "node:assert";
import OpenAI from "openai";
import { tell } from "./telling.mjs";

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

await tell("openai (Node), chat completions", "openai", steps);
