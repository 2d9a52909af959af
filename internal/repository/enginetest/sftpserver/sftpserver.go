// Package sftpserver is the SSH side of a server of files that tests keep backups on. What answers SFTP is up to the caller.
package sftpserver

import (
	"context"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Serve serves one connection until it ends, or until the context does. Each channel that asks for SFTP is handed to
// answer, and closed when answer returns.
func Serve(ctx context.Context, conn net.Conn, config *ssh.ServerConfig, answer func(ssh.Channel)) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return // a probe, or somebody who is not known and was told so
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		ch, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			defer ch.Close()
			for r := range requests {
				sftp := r.Type == "subsystem" && strings.HasSuffix(string(r.Payload), "sftp")
				_ = r.Reply(sftp, nil) // a broken connection shows in the next request
				if sftp {
					answer(ch)
					return
				}
			}
		}()
	}
}
