package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/hack/cluster/internal/pairs"
	"github.com/cairn-backup/cairn/hack/cluster/internal/tree"
)

func idle(ctx context.Context, _ []string) error {
	<-ctx.Done()
	return nil
}

func sleep(ctx context.Context, args []string) error {
	fmt.Println("sleeping")
	return idle(ctx, args)
}

func echo(_ context.Context, args []string) error {
	_, err := fmt.Println(strings.Join(args, " "))
	return err
}

func environment(context.Context, []string) error {
	_, err := fmt.Println(strings.Join(os.Environ(), "\n"))
	return err
}

func write(_ context.Context, args []string) error {
	if err := os.MkdirAll(filepath.Dir(args[0]), 0o755); err != nil {
		return err
	}
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, strings.Join(args[1:], " ")+"\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	_, err = fmt.Println("wrote", args[0])
	return err
}

func cat(_ context.Context, args []string) error {
	for _, p := range args {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func list(_ context.Context, args []string) error {
	return filepath.Walk(args[0], func(p string, fi fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		_, err = fmt.Printf("%s %8d %s\n", fi.Mode(), fi.Size(), p)
		return err
	})
}

func untar(_ context.Context, args []string) error {
	return tree.Untar(bufio.NewReaderSize(os.Stdin, 1<<16), args[0])
}

func pack(_ context.Context, args []string) error {
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	return errors.Join(tree.Tar(out, args[0]), out.Flush())
}

func manifest(_ context.Context, args []string) error {
	skipRoot := args[0] == "--skip-root"
	if skipRoot {
		args = args[1:]
	}
	if len(args) != 1 {
		return errUsage
	}
	return tree.Manifest(os.Stdout, args[0], skipRoot)
}

func fixture(_ context.Context, args []string) error { return tree.Fixture(args[0]) }

func writePairs(ctx context.Context, args []string) error { return pairs.Write(ctx, args[0]) }

func checkPairs(_ context.Context, args []string) error {
	summary, err := pairs.Check(args[0])
	if err != nil {
		return err
	}
	_, err = fmt.Println(summary)
	return err
}
