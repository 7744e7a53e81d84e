// An issuer of tokens: oauth2-mock-server over https, whose tokens have the claims that a request has as JSON.
//
//   node issuer.js KEY CERTIFICATE PORT
//
// It says READY when it answers.  A line "ALGORITHM KID" of its input makes one more key, and is answered with the kid.
"use strict";
const readline = require("node:readline");
const { OAuth2Server } = require("oauth2-mock-server");

async function main(key, certificate, port) {
    const server = new OAuth2Server(key, certificate);
    await server.issuer.keys.generate("RS256", { kid: "first-RS256" });
    await server.issuer.keys.generate("ES256", { kid: "first-ES256" });
    server.service.on("beforeTokenSigning", (token, request) => {
        Object.assign(token.payload, JSON.parse(request.body.claims || "{}"));
        for (const name of Object.keys(token.payload)) {
            if (token.payload[name] === null) {
                delete token.payload[name];
            }
        }
    });
    await server.start(Number(port), "localhost");
    console.log("READY");
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const [algorithm, kid] = line.split(" ");
        await server.issuer.keys.generate(algorithm, { kid });
        console.log(kid);
    }
    process.exit(0); // whoever started it has ended
}

main(...process.argv.slice(2));
