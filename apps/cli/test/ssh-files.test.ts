import { describe, expect, it } from 'vitest'
import { sshFiles } from '../src/ssh-files.ts'

const env = { POSTERN_HOME: '/home/ann/postern' }
const of = (application: string) => sshFiles(application, env)

describe('row 81: whose files are whose', () => {
  it('follows from the hostname, and its port', () => {
    expect(of('ssh.example.com').key).toBe('/home/ann/postern/ssh/ssh.example.com')
    expect(of('ssh.example.com:8443').key).toBe('/home/ann/postern/ssh/ssh.example.com_8443')
    expect(of('ssh.example.com').certificate).toBe('/home/ann/postern/ssh/ssh.example.com-cert.pub')
  })

  it('another hostname’s key is not where the certificate of the first one is', () => {
    // A domain under .pub is to be had by anybody.
    const other = of('ssh.example.com-cert.pub')
    expect(other.key).not.toBe(of('ssh.example.com').certificate)
    expect(other.certificate).toBe(`${other.key}-cert.pub`)
    expect(of('cert.pub').key).toBe('/home/ann/postern/ssh/cert.pub')
  })
})
