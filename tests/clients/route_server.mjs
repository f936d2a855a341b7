// Serve a Next.js route handler without Next.js: its GET takes a Request and answers a Response.

import { createServer } from "node:http";

const { GET } = await import(process.argv[2]);

createServer(async (request, response) => {
  const url = `http://${request.headers.host}${request.url}`;
  const answer = await GET(new Request(url, { headers: request.headers }));
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  response.end(await answer.text());
}).listen(Number(process.env.PORT), "127.0.0.1");
