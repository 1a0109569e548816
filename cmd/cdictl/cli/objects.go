package cli

import (
	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/lib/source/gcssource"
	"github.com/cdictl/cdictl/lib/source/s3source"
)

// objectFlags say how to be let in to an object store, and which. No flag is a secret: those are in the environment and
// in files, where the clouds' own programs look for them too.
type objectFlags struct {
	anonymous bool

	s3Endpoint, s3Region, s3Keys, s3Profile string
	s3Style                                 choice
	s3Pays                                  bool

	gcsEndpoint, gcsCredentials, gcsProject string
}

func (o *objectFlags) register(to *pflag.FlagSet) {
	grouped(to, groupObjects, func(fs *pflag.FlagSet) {
		fs.BoolVar(&o.anonymous, "anonymous", false, "ask s3:// and gs:// for a public object, without credentials")
		fs.StringVar(&o.s3Endpoint, "s3-endpoint", "", "`URL` of an S3 server other than AWS (default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's)")
		fs.StringVar(&o.s3Region, "s3-region", "", "`name` of the region (default: the endpoint's, AWS_REGION, the profile's, us-east-1)")
		fs.StringVar(&o.s3Keys, "s3-keys", "", "`folder` with the files accessKeyId, secretKey and maybe sessionToken (default: AWS's chain of credentials)")
		fs.StringVar(&o.s3Profile, "s3-profile", "", "`name` of the profile in AWS's configuration (default: AWS_PROFILE)")
		choose(fs, &o.s3Style, "s3-style", "", "where the bucket is put; auto: in the host for AWS, else in the path", "auto", "path", "host")
		fs.BoolVar(&o.s3Pays, "s3-requester-pays", false, "agree to pay for requests to a bucket whose owner does not")
		fs.StringVar(&o.gcsEndpoint, "gcs-endpoint", "", "`URL` of a server other than Google's, such as an emulator")
		fs.StringVar(&o.gcsCredentials, "gcs-credentials", "", "JSON `file` of a service account or of a workload identity (default: application default credentials)")
		fs.StringVar(&o.gcsProject, "gcs-project", "", "`name` of the project that pays for requests to a bucket whose owner does not")
	})
}

// options are those of both stores by the flags.
func (f *objectFlags) options() (s3source.Options, gcssource.Options, error) {
	s3 := s3source.Options{Endpoint: f.s3Endpoint, Region: f.s3Region, RequesterPays: f.s3Pays}
	gcs := gcssource.Options{Endpoint: f.gcsEndpoint, Project: f.gcsProject}
	switch {
	case f.anonymous && (f.s3Keys != "" || f.s3Profile != "" || f.gcsCredentials != ""):
		return s3, gcs, usagef("--anonymous is without credentials, and some are named")
	case f.s3Keys != "" && f.s3Profile != "":
		return s3, gcs, usagef("--s3-keys and --s3-profile are two ways to name keys")
	}
	if f.s3Style.value != "auto" {
		s3.Style = s3source.Style(f.s3Style.value)
	}
	if f.anonymous {
		return s3, gcs, nil
	}
	s3.Credentials, gcs.Credentials = s3source.Chain(f.s3Profile), gcssource.Default()
	if f.s3Keys != "" {
		s3.Credentials = s3source.Folder(f.s3Keys)
	}
	if f.gcsCredentials != "" {
		gcs.Credentials = gcssource.File(f.gcsCredentials)
	}
	return s3, gcs, nil
}
