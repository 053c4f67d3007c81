-- The connectors of Scalekit's catalogue (August 2026), as connections are named unless somebody renames them. Asked by
-- agenthost check, to tell a slip of the pen from a name of one's own, and by shell completion.
local connectors = {}

local names = [[
activepiecesmcp adobemarketingagentmcp advancedmd adzvisermcp affindamcp affinity agencyanalyticsmcp agentmailmcp
ahrefsmcp airbytemcp airopsmcp airparsermcp airtable airtablemcp alphaxivmcp amplemarket amplitudeanalytics
amplitudeexperimentmanagement anakinmcp anchorbrowsermcp apifymcp apollo apolloapikey apollomcp appsignalmcp asana
asanamcp atlassianmcp attention attio attiomcp axiommcp betterstackmcp bigquery bigqueryserviceaccount biomnimcp
biorendermcp bitbucket bitlymcp bitquerymcp bonsaimcp box boxmcp brave brevomcp bugsnagmcp buildkitemcp calendly
calendlymcp calmcp candidmcp canva carboneiomcp cartamcp catchrmcp chilipipermcp chorus circlebackmcp claapmcp
clari_copilot clarifymcp claymcp clickhouse clickup close closemcp cloudfaremcp cloudflare cloudinarymcp cloudpressmcp
cognee coinmarketcapmcp commonroommcp confluence contentfulmcp context7mcp conversiontoolsmcp convertapimcp
crustdatamcp customeriomcp customsmartfhir dartaimcp databoxmcp databricksworkspace datadog dataforseomcp deelmcp
deepgrammcp descriptmcp devinmcp devrevmcp diarize digitsmcp discord discordbot docsautomatormcp dovetailmcp dropbox
dropboxmcp dropcontactmcp dynamo echtpostmcp edenmcp eodhdmcp eracontextmcp erasermcp evertrace exa examcp
excalidrawmcp expomcp fathom fathommcp fellowaimcp fevermcp fiberymcp figma financialdatasetsmcp firecrawlmcp
firefliesmcp fiscalaimcp fluxmcp folkmcp freshdesk fullenrichmcp gainsight github githubmcp githubpat gitlab
globalpingmcp gmail gocardlessmcp gong gongmcp google_ads googleanalytics googlebusinessprofile googlecalendar
googledocs googledrive googledwd googleforms googlelooker googlemeet googlesearchconsole googlesheets googleslides
gorgiasmcp grainmcp granola granolamcp greptilmcp gtmetrixmcp gustomcp happyscribemcp harvestapi harvestmcp hexmcp
heyreach hubspot hubspotmcp huggingfacemcp icepanelmcp igptmcp intercom jammcp jenticmcp jiminny jira
jiraservicemanagement jotformmcp kitmcp klaviyomcp klingmcp latchbiomcp launchdarklymcp leadboxermcp leadfeedermcp
leadiq leadiqmcp legaldatahuntermcp lemlistmcp liltmcp linear linearmcp linkedin linklymcp listenlabsmcp logrocketmcp
loopsmcp lucidmcp lunarcrushmcp lushamcp magicpatternsmcp mailchimp mailercloudmcp mailerlitemcp mailgun mailtrap
makemcp mem0mcp memberstackmcp memmcp mercurymcp metaviewmcp metricoolmcp microsoft365 microsoftexcel microsoftteams
microsoftword minicoursegeneratormcp mintlifymcp miro miromcp mixmaxmcp mixpanelanalytics mixpanelcompliance
mixpanelingestion mobbinmcp momentum monday mondaymcp motherduckmcp motionmcp mtnewswiresmcp muxmcp neonmcp netlifymcp
nimblemcp nocodbmcp notion notionmcp onedrive onenote onepagemcp openroutermcp otteraimcp outlook outreach pagerduty
pandadocmcp parallelaitaskmcp pendomcp phantombuster phantombustermcp pipedrive pipedrivemcp pixelbinmcp plainmcp
planemcp planetscalemcp planningcentermcp plaudmcp posthogmcp postmanmcp postmark prismamcp privacymcp profoundmcp
pylon pylonmcp quickbooks quicknodemcp quizvideomcp readaimcp recraftmcp redshift replitmcp resend revealedaimcp
rizemcp runwaremcp salesforce salesloft sanitymcp scarpflymcp scholargateway semaphorecimcp sendgrid sendmcp sentrymcp
servicenow sharepoint signwell slack slackmcp sleekplanmcp slitemcp smtp2go snowflake snowflakekeyauth splicemcp
sportradarmcp stackaimcp statuspage storeleadsmcp stripe stripemcp supabase supadata supadatamcp supermetricsmcp
surveymonkeymcp swaggermcp sybilmcp synapsemcp synthesizebiomcp tableau tactiqmcp tallymcp tangomcp tavilymcp
telnyxmcp testidinomcp ticktickmcp tinyfishmcp todoistmcp topcounselmcp trello twelvedatamcp twilio twitter
twitterbearer twitteroauth typeformmcp upstreammcp v0mcp vapimcp vercel vercelmcp vibeprospectingmcp vimeo webflowmcp
whimsicalmcp whopmcp wixmcp xero youmcp youtube zapiermcp zendesk zendeskoauth zenrowsmcp zohocrm zoom zoominfo
zoomrevenueaccelerator
]]

function connectors.list()
  local list = {}
  for name in names:gmatch "%S+" do list[#list + 1] = name end
  return list
end

return connectors
