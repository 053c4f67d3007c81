/* Runs a program and writes what it used: peak FILE PROGRAM ARGUMENTS... Called by bench/measure.py, whose own
 * memory would else be counted: the kernel gives a new process the peak of the one that it was forked from.
 * FILE gets "exit-code wall-seconds cpu-seconds peak-kilobytes". */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    struct rusage used;
    int status = 0;
    if (argc < 3)
        return 2;
    double start = now();
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid)
        return 2;
    FILE *f = fopen(argv[1], "w");
    if (!f)
        return 2;
    fprintf(f, "%d %f %f %ld\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            now() - start, seconds(used.ru_utime) + seconds(used.ru_stime), used.ru_maxrss);
    return fclose(f) == 0 ? 0 : 2;
}
