// /// script
// npm = ["ai", "@ai-sdk/openai", "zod"]
// ///
// The AI SDK in its default form, Responses, and by chat completions.

import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { tell } from "./telling.mjs";

const openai = createOpenAI({ baseURL: process.env.FUGU_BASE_URL, apiKey: process.env.FUGU_API_KEY });
const tools = {
  get_weather: tool({
    description: "The weather at a place.",
    inputSchema: z.object({ location: z.string() }),
    execute: async ({ location }) => `14 degrees in ${location}`,
  }),
};
const tried = async (model) => {
  const whole = await generateText({ model, prompt: "hello", maxRetries: 0 });
  assert.equal(whole.text, "You said: hello");
  let text = "";
  for await (const piece of streamText({ model, prompt: "hello", maxRetries: 0 }).textStream) text += piece;
  assert.equal(text, "You said: hello");
  const told = await generateText({ model, prompt: "the weather?", tools, stopWhen: stepCountIs(3), maxRetries: 0 });
  assert.match(told.text, /14 degrees in Paris/);
};
const steps = {
  "Responses, its default: an answer, a stream, a tool round trip": () => tried(openai("fugu")),
  "chat completions: the same": () => tried(openai.chat("fugu")),
};

await tell("AI SDK", "ai", steps);
