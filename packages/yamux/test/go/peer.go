// The other side of test/interop.test.ts: hashicorp/yamux as server or client over loopback TCP.
//
//	peer server             accepts one connection, prints its port, serves streams by their first byte
//	peer client PORT TESTS  dials PORT and runs the named tests against us, prints "ok NAME" or "FAIL NAME: why"
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const bulk = 64 << 20

func config() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.LogOutput = io.Discard
	return c
}

func check(err error) {
	if err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
}

func main() {
	if os.Args[1] == "server" {
		server()
	} else {
		client(os.Args[2], os.Args[3:])
	}
}

func server() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	conn, err := listener.Accept()
	check(err)
	session, err := yamux.Server(conn, config())
	check(err)
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return
		}
		go serve(session, stream)
	}
}

// What a stream asks for is its first byte.
func serve(session *yamux.Session, stream *yamux.Stream) {
	kind := make([]byte, 1)
	if _, err := io.ReadFull(stream, kind); err != nil {
		return
	}
	switch kind[0] {
	case 'e': // echo until FIN, then FIN
		io.Copy(stream, stream)
		stream.Close()
	case 'f': // FIN first, then the hash of what still comes, on a stream of our own
		stream.Close()
		sum := sha256.New()
		check(afterClose(sum, stream, bulk))
		answer, err := session.OpenStream()
		check(err)
		answer.Write(sum.Sum(nil))
		answer.Close()
	case 'd': // 64 MiB down behind its hash
		data := random()
		sum := sha256.Sum256(data)
		stream.Write(sum[:])
		stream.Write(data)
		stream.Close()
	case 'u': // up until FIN, then the hash
		sum := sha256.New()
		io.Copy(sum, stream)
		stream.Write(sum.Sum(nil))
		stream.Close()
	case 'r': // says how its reading ended, on a stream of our own
		stream.Write([]byte("ready"))
		_, err := io.Copy(io.Discard, stream)
		answer, opened := session.OpenStream()
		check(opened)
		fmt.Fprintf(answer, "%v", errors.Is(err, yamux.ErrConnectionReset))
		answer.Close()
	case 'p': // pings us
		_, err := session.Ping()
		fmt.Fprintf(stream, "%v", err)
		stream.Close()
	case 'g': // takes no more streams: resets what comes
		check(session.GoAway())
		fmt.Println("gone")
		io.Copy(stream, stream)
		stream.Close()
	}
}

// Reads n bytes from a stream that we have closed: this version of Go's yamux gives an EOF whenever its buffer is empty then, though the
// stream goes on.
func afterClose(to io.Writer, stream *yamux.Stream, n int64) error {
	for limit := time.Now().Add(time.Minute); n > 0; {
		got, err := io.CopyN(to, stream, n)
		n -= got
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n > 0 && time.Now().After(limit) {
			return fmt.Errorf("%d bytes missing", n)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func random() []byte {
	data := make([]byte, bulk)
	rand.New(rand.NewSource(7)).Read(data)
	return data
}

func client(port string, names []string) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	check(err)
	session, err := yamux.Client(conn, config())
	check(err)
	for _, name := range names {
		if err := tests[name](session); err != nil {
			fmt.Printf("FAIL %s: %v\n", name, err)
		} else {
			fmt.Printf("ok %s\n", name)
		}
	}
	session.Close()
}

func open(session *yamux.Session, kind string) *yamux.Stream {
	stream, err := session.OpenStream()
	check(err)
	stream.SetDeadline(time.Now().Add(60 * time.Second))
	_, err = stream.Write([]byte(kind))
	check(err)
	return stream
}

func echo(session *yamux.Session, data []byte) error {
	stream := open(session, "e")
	go stream.Write(data)
	got := make([]byte, len(data))
	if n, err := io.ReadFull(stream, got); err != nil {
		return fmt.Errorf("%d bytes of %d came back: %v", n, len(data), err)
	}
	if !bytes.Equal(got, data) {
		return errors.New("other bytes came back")
	}
	return stream.Close()
}

var tests = map[string]func(*yamux.Session) error{
	"echo": func(session *yamux.Session) error { return echo(session, []byte("hello over yamux")) },
	"bulk": func(session *yamux.Session) error { return echo(session, random()) },
	"concurrent": func(session *yamux.Session) error {
		var wait sync.WaitGroup
		failed := make(chan error, 200)
		for i := 0; i < 200; i++ {
			wait.Add(1)
			go func(i int) {
				defer wait.Done()
				if err := echo(session, bytes.Repeat([]byte(fmt.Sprintf("stream %d ", i)), 20000)); err != nil {
					failed <- err
				}
			}(i)
		}
		wait.Wait()
		close(failed)
		return <-failed
	},
	// We finish first, the other side goes on.
	"half-close": func(session *yamux.Session) error {
		stream := open(session, "d")
		stream.Close()
		var sum bytes.Buffer
		if err := afterClose(&sum, stream, 32); err != nil {
			return err
		}
		hash := sha256.New()
		if err := afterClose(hash, stream, bulk); err != nil {
			return err
		}
		if !bytes.Equal(hash.Sum(nil), sum.Bytes()) {
			return errors.New("the hash differs")
		}
		return nil
	},
	// The other side finishes first, we go on.
	"half-close-peer": func(session *yamux.Session) error {
		stream := open(session, "f")
		if n, err := io.Copy(io.Discard, stream); err != nil || n != 0 {
			return fmt.Errorf("%d bytes, %v", n, err)
		}
		data := random()
		if _, err := stream.Write(data); err != nil {
			return err
		}
		stream.Close()
		answer, err := session.AcceptStream()
		if err != nil {
			return err
		}
		got, err := io.ReadAll(answer)
		sum := sha256.Sum256(data)
		if err == nil && !bytes.Equal(got, sum[:]) {
			err = errors.New("the hash differs")
		}
		answer.Close()
		return err
	},
	"reset": func(session *yamux.Session) error {
		stream := open(session, "x")
		_, err := io.ReadAll(stream)
		if !errors.Is(err, yamux.ErrConnectionReset) {
			return fmt.Errorf("saw %v", err)
		}
		return nil
	},
	"ping": func(session *yamux.Session) error {
		_, err := session.Ping()
		return err
	},
	"go-away": func(session *yamux.Session) error {
		stream := open(session, "g")
		if _, err := io.ReadFull(stream, make([]byte, 4)); err != nil {
			return err
		}
		if _, err := session.OpenStream(); !errors.Is(err, yamux.ErrRemoteGoAway) {
			return fmt.Errorf("a new stream: %v", err)
		}
		stream.Write([]byte("still here"))
		got := make([]byte, 10)
		if _, err := io.ReadFull(stream, got); err != nil || string(got) != "still here" {
			return fmt.Errorf("got %q, %v", got, err)
		}
		if err := stream.Close(); err != nil {
			return err
		}
		// Their end of it too: whoever closes a connection with something unread in it resets it.
		for limit := time.Now().Add(time.Minute); session.NumStreams() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				return fmt.Errorf("%d streams left", session.NumStreams())
			}
		}
		return nil
	},
}
