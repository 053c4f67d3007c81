/* agenthost: runs AI agents written as Lua scripts inside another C or C++ program. */
#ifndef AGENTHOST_H
#define AGENTHOST_H

#ifdef __cplusplus
extern "C" {
#endif

#define AH_PUBLIC __attribute__((visibility("default")))

/* "0.1.0": of the library that is loaded. */
AH_PUBLIC const char *ah_host_version(void);

#ifdef __cplusplus
}
#endif

#endif
