// TEAM_DOMAIN=team.example.com HOSTNAME=shop.example.com PORT=8080 node src/main.ts
import { createVerifier } from '@postern/verify'
import { buildApp } from './app.ts'

const { TEAM_DOMAIN: teamDomain = '', HOSTNAME: audience = '', PORT = '8080' } = process.env
const app = buildApp(createVerifier({ teamDomain, audience }))
console.log(await app.listen({ host: '127.0.0.1', port: Number(PORT) }))
