/* double FILE.case: plays a case for a client in another process. Prints "listening PORT" first; at the
 * end of its input "requests N" and the differences. Exit code 1 when there are any. */
#include "tcp_double.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char error[512], block[256];
    struct double_script *s = argc == 2 ? double_load(argv[1], error, sizeof error) : NULL;
    if (!s) {
        fprintf(stderr, "double: %s\n", argc == 2 ? error : "give one FILE.case");
        return 2;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct tcp_double *d = double_start(s);
    printf("listening %d\n", double_port(d));
    fflush(stdout);
    while (read(0, block, sizeof block) > 0) {}
    double_stop(d);
    printf("requests %d\n%s", double_requests(d), double_differences(d));
    int rc = double_differences(d)[0] != '\0';
    double_free(d);
    double_script_free(s);
    return rc;
}
