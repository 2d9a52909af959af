// Package sftpserver is the SSH side of a file server on which tests keep backups. The caller decides what answers
// SFTP. Serve is safe for concurrent use.
package sftpserver

import (
	"context"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Serve serves one connection until the connection or ctx ends. It passes each channel that requests SFTP to answer,
// and closes the channel when answer returns.
func Serve(ctx context.Context, conn net.Conn, config *ssh.ServerConfig, answer func(ssh.Channel)) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return // a probe, or a client that was refused
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		ch, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = ch.Close() }()
			for r := range requests {
				sftp := r.Type == "subsystem" && strings.HasSuffix(string(r.Payload), "sftp")
				_ = r.Reply(sftp, nil) // the next request shows a broken connection
				if sftp {
					answer(ch)
					return
				}
			}
		}()
	}
}
