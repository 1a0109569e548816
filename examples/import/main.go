// Command import makes disk.img out of the image at a URL: the library's front door, and nothing else.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: import URL")
	}
	src, err := httpsource.New(os.Args[1], httpsource.Options{})
	if err != nil {
		log.Fatal(err)
	}
	res, err := importer.Import(context.Background(), importer.Request{
		Source: src,
		Target: filesink.New("disk.img", filesink.Options{}),
		Spool:  ".",
	})
	if err != nil {
		log.Fatal(err) // errdef.Hint(err) says what to do, errdef.ExitCode(err) what it is
	}
	fmt.Printf("%s: %d bytes from %s by the %s route\n", res.Target, res.VirtualSize, res.Format, res.Route)
}
