// The shape of frp and ngrok, as small as it gets: client and server speak TLS 1.3 with each other and yamux in it; a relay between
// them copies what it cannot read.
//
//	yamux relay USERS SERVERS     listens for both, joins the first of each
//	yamux server RELAY CERT KEY SERVICE
//	yamux client RELAY CA NAME LISTEN
package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"os"
	"sync"

	"github.com/hashicorp/yamux"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

type half interface {
	net.Conn
	CloseWrite() error
}

// A yamux stream's Close ends one direction.
type stream struct{ *yamux.Stream }

func (s stream) CloseWrite() error { return s.Close() }

func both(a, b half) {
	var done sync.WaitGroup
	done.Add(2)
	one := func(to, from half) {
		io.Copy(to, from)
		to.CloseWrite()
		done.Done()
	}
	go one(a, b)
	go one(b, a)
	done.Wait()
	a.Close()
	b.Close()
}

func listen(address string) net.Listener {
	listener, err := net.Listen("tcp", address)
	must(err)
	return listener
}

func settings() *yamux.Config {
	config := yamux.DefaultConfig()
	config.AcceptBacklog = 1024
	config.MaxStreamWindowSize = 1 << 20 // as Postern's
	config.LogOutput = io.Discard
	return config
}

func relay(users, servers string) {
	u, s := listen(users), listen(servers)
	server, err := s.Accept()
	must(err)
	user, err := u.Accept()
	must(err)
	both(user.(half), server.(half))
}

func server(relay, cert, key, service string) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	must(err)
	conn, err := net.Dial("tcp", relay)
	must(err)
	secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
	session, err := yamux.Server(secured, settings())
	must(err)
	for {
		incoming, err := session.AcceptStream()
		if err != nil {
			return
		}
		go func() {
			conn, err := net.Dial("tcp", service)
			if err != nil {
				incoming.Close()
				return
			}
			both(stream{incoming}, conn.(half))
		}()
	}
}

func client(relay, ca, name, address string) {
	pem, err := os.ReadFile(ca)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn, err := tls.Dial("tcp", relay, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13})
	must(err)
	session, err := yamux.Client(conn, settings())
	must(err)
	listener := listen(address)
	for {
		user, err := listener.Accept()
		must(err)
		go func() {
			outgoing, err := session.OpenStream()
			if err != nil {
				user.Close()
				return
			}
			both(user.(half), stream{outgoing})
		}()
	}
}

func main() {
	log.SetFlags(0)
	role, args := os.Args[1], os.Args[2:]
	switch role {
	case "relay":
		relay(args[0], args[1])
	case "server":
		server(args[0], args[1], args[2], args[3])
	case "client":
		client(args[0], args[1], args[2], args[3])
	}
}
