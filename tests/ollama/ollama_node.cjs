// One call of ollama-js: node ollama_node.cjs URL CALL prints what the client made of it. The client has no
// accumulator: a stream is added up here.
"use strict";

const { Ollama } = require("ollama");

const [url, call] = process.argv.slice(2);
const client = new Ollama({ host: url });
const options = { temperature: 0, seed: 7, num_predict: 24 };
const chat = { model: process.env.TEXT, messages: [{ role: "user", content: process.env.QUESTION }], options };
const withTools = {
  model: process.env.TOOLS,
  messages: [{ role: "user", content: process.env.WEATHER_QUESTION }],
  tools: [{ type: "function", function: JSON.parse(process.env.WEATHER) }],
};
const text = { model: process.env.TEXT, prompt: process.env.QUESTION, options };

async function chatAddedUp(question) {
  const whole = { content: "", tool_calls: [] };
  for await (const part of await client.chat({ ...question, stream: true })) {
    whole.content += part.message.content;
    whole.tool_calls.push(...(part.message.tool_calls ?? []));
    whole.last = part;
  }
  return whole;
}

async function textAddedUp(question) {
  const whole = { response: "" };
  for await (const part of await client.generate({ ...question, stream: true })) {
    whole.response += part.response;
    whole.last = part;
  }
  return whole;
}

const calls = {
  chat: () => client.chat(chat),
  chat_added_up: () => chatAddedUp(chat),
  chat_with_tools: () => client.chat(withTools),
  chat_with_tools_added_up: () => chatAddedUp(withTools),
  generate: () => client.generate(text),
  generate_added_up: () => textAddedUp(text),
};

calls[call]().then(
  (answer) => console.log(JSON.stringify(answer)),
  (error) => console.log(JSON.stringify({ raised: error.constructor.name, status: error.status_code, error: error.error })),
);
