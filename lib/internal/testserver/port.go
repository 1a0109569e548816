package testserver

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// address finds a free port of loopback for a program that has to be told one. It lies below those that the kernel gives to
// whoever takes any: nobody is given it before the program has it.
func address(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12_000+rand.IntN(18_000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no port of loopback is free")
	return ""
}
