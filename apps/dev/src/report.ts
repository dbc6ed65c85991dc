import type { Dev } from './dev.ts'
import type { JobDone } from './job.ts'
import { APP_HOST, ECHO_HOST, SSH_HOST } from './names.ts'

export interface Done {
  /** Milliseconds until everything ran. */
  readonly up: number
  /** The SSH command. */
  readonly job: JobDone
  /** The page over HTTPS. */
  readonly request: JobDone
}

/** The same for programs. The password is in it, as it is in what people read. */
export function factsOf({ port, folder, serviceToken, caFile, person, urls, postern, ssh }: Dev, done: Done): object {
  const { up, job, request } = done
  const ways = { postern, sshConfig: ssh.configFile }
  const { id, secretFile } = serviceToken
  return {
    port,
    folder,
    serviceToken: { id, secretFile },
    caFile,
    person,
    urls,
    ...ways,
    up: Math.round(up),
    job,
    request,
  }
}

export function report(dev: Dev, { up, job, request }: Done): string {
  const ms = (time: number) => `${Math.round(time)} ms`.padStart(8)
  return `
Postern is up: an edge on 127.0.0.1:${dev.port}, a daemon that dialled it, and private services behind it.

  ssh ────────▶ postern ─┐
                         ├─▶ edge ◀── posternd ──▶ ${dev.ssh.what}, ${dev.web.what}, ${dev.echo.what}
  browser, curl ─────────┘

${ms(up)}  edge, daemon and services started; the daemon signed in with its tunnel token
${ms(job.milliseconds)}  an SSH command went through, let in by a service token:  ${job.output}
${ms(request.milliseconds)}  so did a page over HTTPS:  ${request.output}
`
}

export function nextSteps(dev: Dev): string {
  const { urls, person, postern, ssh, serviceToken } = dev
  return `
In your browser:

  ${urls.app.padEnd(34)}  sign in as ${person.email}, password ${person.password}
  ${urls.wiki.padEnd(34)}  a second application: you are signed in
  ${urls.vault.padEnd(34)}  not for ${person.name}, and it says whom to ask
  ${`${urls.team}admin`.padEnd(34)}  sessions and service tokens: ${person.name} administers, too

  It warns of the certificate, once for each name: the CA was made for this run. Go on all the same; trust it nowhere.

In another terminal, as ${person.name}:

  # sign in once, with your browser; for this, what runs, and what you start next
  ${postern} access login ${urls.app}

  # the same page by curl, and a shell on the same name
  ${postern} access curl ${urls.app}
  ssh -F ${ssh.configFile} ${APP_HOST}

  # end every session of hers: the page in your browser stops, and so does the shell
  ${postern} admin session revoke --user ${person.email}

As a machine, by a service token:

  ssh -F ${ssh.configFile} ${SSH_HOST}
  printf 'hello\\n' | ${postern} access tcp --hostname ${ECHO_HOST}
  ${postern} access tcp -L 7007:${ECHO_HOST} -L 7022:${SSH_HOST}

  # what a stranger gets, who came, and the token taken away: whatever is open ends
  ${postern} access tcp --hostname ${ECHO_HOST} --id ${serviceToken.id} --secret wrong
  ${postern} admin audit --limit 10
  ${postern} admin service-token revoke ${serviceToken.id}

Ctrl-C stops everything and removes ${dev.folder}.
`
}
